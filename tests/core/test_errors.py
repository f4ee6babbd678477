from __future__ import annotations

from airlock.core.errors import (
    AuditFault,
    ConfigError,
    Effect,
    PolicyFault,
    Refused,
    Rejected,
    Stage,
    Unauthenticated,
    UpstreamFault,
)


def test_one_problem_is_its_own_part() -> None:
    error = ConfigError("f:1", "a: unknown key", "did you mean b?")
    assert (str(error), error.problems) == ("f:1: a: unknown key (did you mean b?)", (error,))


def test_problems_together_have_a_line_each() -> None:
    first, second = ConfigError("f:1", "a"), ConfigError("f:2", "b")
    both = ConfigError.together([first, second])
    assert (str(both), both.problems, both.where) == ("f:1: a\nf:2: b", (first, second), "f:1")


def test_a_faults_detail_is_not_in_the_text_for_the_caller() -> None:
    fault = UpstreamFault.unavailable("10.0.0.7 refused", effect=Effect.NONE)
    assert "10.0.0.7" in str(fault)
    assert "10.0.0.7" not in fault.text


def test_faults_know_stage_and_code() -> None:
    faults = [
        UpstreamFault.protocol("x"),
        UpstreamFault.timeout("x", effect=Effect.POSSIBLE),
        AuditFault("disk full"),
        PolicyFault("policy_error", "x"),
    ]
    assert [(fault.stage, fault.code) for fault in faults] == [
        (Stage.FORWARD, 50201),
        (Stage.FORWARD, 50401),
        (Stage.RECORD, 50303),
        (Stage.AUTHORIZE, 50302),
    ]


def test_a_refusal_says_its_text() -> None:
    assert str(Refused(Stage.ADMIT, 40301, "blocked", "You are blocked.")) == "You are blocked."


def test_a_rejected_message_is_refused_at_the_edge() -> None:
    rejected = Rejected(400, -32700, "malformed_json", "Not JSON.", headers=(("allow", "POST"),))
    assert (rejected.stage, rejected.http, rejected.headers) == (Stage.EDGE, 400, (("allow", "POST"),))


def test_a_challenge_knows_the_scopes_that_are_needed() -> None:
    refused = Unauthenticated(
        403, "scope", "More is needed.", error="insufficient_scope", scopes=("mcp.call",)
    )
    assert (refused.stage, refused.http, refused.scopes) == (Stage.AUTHENTICATE, 403, ("mcp.call",))
