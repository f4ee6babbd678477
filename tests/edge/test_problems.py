"""The answer to every failure: its form, status and headers, and nothing that only operators may know."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from airlock.core import metrics
from airlock.core.config import Config, DenialsSection
from airlock.core.errors import (
    AuditFault,
    Effect,
    Fault,
    PolicyFault,
    Refused,
    Rejected,
    Stage,
    Unauthenticated,
    UpstreamFault,
)
from airlock.edge.problems import LINES, SECURITY, Conceal, Failure, Problems
from airlock.identity.refusals import Reason, invalid
from airlock.mcp.refusals import REASONS, REFUSAL_KEY
from airlock.model.call import Admitted, Identified, Reached, Reply
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN_CLIENT,
    NOW,
    PUBLIC,
    HandClock,
    Lines,
    allowed,
    authenticated,
    call_message,
    identified,
    inbound,
    redacted,
    routed,
)

SECRET = "10.1.2.3: connection refused"
TOKEN = "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"
EVERY_WAY = [
    pytest.param(code, modern, method, id=f"{code}-{'modern' if modern else 'legacy'}-{method}")
    for code in REASONS
    for modern in (True, False)
    for method in ("tools/call", "tools/list")
]


def reveal(reached: Reached, failure: Failure) -> None:
    """Nothing is hidden."""


def explained(
    reached: Reached | None, failure: Failure, *, conceal: Conceal = reveal, lines: Lines | None = None
) -> Reply:
    problems = Problems(public_url=PUBLIC, conceal=conceal, clock=HandClock(), log=lines or Lines())
    return problems.explain(reached, failure)


def failing(code: int, **more: Any) -> Failure:
    if code < 50000:
        return Refused(Stage.ADMIT, code, REASONS[code], "It is refused.", **more)
    return Fault(Stage.FORWARD, code, REASONS[code], "It failed.", detail=SECRET, **more)


def asking(method: str = "tools/call", *, modern: bool = False) -> Identified:
    params: dict[str, Any] | None = None if method == "tools/call" else {}
    return identified(method, params, client=MODERN_CLIENT if modern else LEGACY_CLIENT)


def told(reply: Reply) -> dict[str, Any]:
    """The refusal object, in either form."""
    message = json.loads(reply.body)
    return message["error"]["data"] if "error" in message else message["result"]["_meta"][REFUSAL_KEY]


@pytest.mark.parametrize(("code", "modern", "method"), EVERY_WAY)
def test_a_refused_call_is_a_tool_error_and_everything_else_a_json_rpc_error(
    code: int, modern: bool, method: str
) -> None:
    message = json.loads(explained(asking(method, modern=modern), failing(code)).body)
    if method == "tools/call":
        assert message["result"]["isError"] is True
        assert message["result"].get("resultType") == ("complete" if modern else None)
        assert "structuredContent" not in message["result"]
    else:
        assert message["error"]["code"] == code


@pytest.mark.parametrize(("code", "modern", "method"), EVERY_WAY)
def test_every_refusal_tells_a_program_the_same(code: int, modern: bool, method: str) -> None:
    reached = asking(method, modern=modern)
    data = told(explained(reached, failing(code)))
    expected = (code, REASONS[code], "none", reached.caller.inbound.request_id)
    assert (data["code"], data["reason"], data["effect"], data["decision_id"]) == expected


@pytest.mark.parametrize(("code", "modern", "method"), EVERY_WAY)
def test_every_refusal_of_a_call_is_answered_with_200_and_its_id(
    code: int, modern: bool, method: str
) -> None:
    reply = explained(asking(method, modern=modern), failing(code))
    assert (reply.status, json.loads(reply.body)["id"], reply.is_error) == (200, 1, True)


@pytest.mark.parametrize(("code", "modern", "method"), EVERY_WAY)
def test_retry_after_stands_in_the_header_as_in_the_data(code: int, modern: bool, method: str) -> None:
    for retry_after in (None, 7):
        reply = explained(asking(method, modern=modern), failing(code, retry_after=retry_after))
        seconds = told(reply).get("retry_after")
        assert dict(reply.headers).get("retry-after") == (None if seconds is None else str(seconds))
        assert retry_after in (None, seconds)


@pytest.mark.parametrize(("code", "modern", "method"), EVERY_WAY)
def test_no_refusal_tells_its_detail(code: int, modern: bool, method: str) -> None:
    reply = explained(asking(method, modern=modern), failing(code))
    assert SECRET.encode() not in reply.body + repr(reply.headers).encode()


def test_the_end_of_a_lease_and_retry_after_agree() -> None:
    reply = explained(asking(), failing(40302, scope={"kind": "tool"}, expires_at=NOW + 90))
    assert (told(reply)["retry_after"], dict(reply.headers)["retry-after"]) == (90, "90")


def test_a_policy_gives_its_own_reason() -> None:
    assert (
        told(explained(asking(), failing(40301, policy_reason="not_today")))["policy_reason"] == "not_today"
    )


LEASED: dict[str, Any] = {
    "scope": {"kind": "tool", "server": "docs", "name": "echo"},
    "expires_at": NOW + 90,
    "incident": "INC-1",
    "policy_reason": "not_today",
}


@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
def test_r5_a_refusal_tells_no_more_than_it_is_to(method: str) -> None:
    log = Lines()
    problems = Problems(public_url=PUBLIC, conceal=reveal, clock=HandClock(), log=log)
    reached, failure = asking(method), failing(40302, **LEASED)
    assert "INC-1" in problems.explain(reached, failure).body.decode()
    problems.reload(Config(denials=DenialsSection(disclosure="minimal")))
    reply = problems.explain(reached, failure)
    assert told(reply) == {
        "code": 40302,
        "reason": "contained",
        "decision_id": reached.caller.inbound.request_id,
        "retry_after": 90,
        "effect": "none",
    }
    assert "INC-1" not in reply.body.decode()
    assert "2026" not in reply.body.decode()


@pytest.mark.parametrize(
    ("routes", "server", "form"),
    [
        ((), "", "error"),
        ((), "docs", "error"),
        (("/mcp/docs",), "docs", "error"),
        (("/mcp/docs",), "", "result"),
    ],
)
def test_r1_a_route_can_be_told_refusals_as_errors(routes: tuple[str, ...], server: str, form: str) -> None:
    denials = DenialsSection(tools_call="jsonrpc", routes=routes)
    problems = Problems(public_url=PUBLIC, conceal=reveal, clock=HandClock(), log=Lines(), denials=denials)
    caller = authenticated(call_message(), server=server)
    reply = problems.explain(identified("tools/call", caller=caller), failing(40301))
    assert (reply.status, form in json.loads(reply.body)) == (200, True)
    assert told(reply)["code"] == 40301


@pytest.mark.parametrize("kind", ["principal", "client", "tenant"])
def test_who_is_contained_as_a_whole_gets_403(kind: str) -> None:
    reply = explained(asking(), failing(40302, scope={"kind": kind}))
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (403, 40302)


def test_a_blocked_address_learns_nothing() -> None:
    reply = explained(inbound(b""), failing(40302, scope={"kind": "address"}, expires_at=NOW + 90))
    assert (reply.status, "data" in json.loads(reply.body)["error"]) == (403, False)


def test_an_effect_that_is_possible_is_told() -> None:
    fault = UpstreamFault.timeout(SECRET, effect=Effect.POSSIBLE)
    assert told(explained(redacted(), fault))["effect"] == "possible"


WAYS: dict[str, Callable[[], Reached]] = {
    "identified": asking,
    "routed": routed,
    "admitted": lambda: Admitted(routed=routed()),
    "allowed": allowed,
    "redacted": redacted,
}


@pytest.mark.parametrize("way", WAYS)
def test_however_far_a_call_came_its_id_is_echoed(way: str) -> None:
    assert json.loads(explained(WAYS[way](), failing(50001)).body)["id"] == 1


@pytest.mark.parametrize("reached", [inbound(b""), authenticated()], ids=["inbound", "authenticated"])
def test_a_failure_before_the_message_was_read_has_no_id(reached: Reached) -> None:
    message = json.loads(explained(reached, PolicyFault("policy_error", SECRET)).body)
    assert (message["id"], message["error"]["code"]) == (None, 50302)


def test_a_failure_before_there_is_a_request_is_answered() -> None:
    assert json.loads(explained(None, AuditFault(SECRET)).body)["error"]["code"] == 50303


def test_a_refused_notification_is_a_json_rpc_error_without_id() -> None:
    reached = identified(notification=True)
    assert json.loads(explained(reached, failing(40301)).body)["id"] is None


def test_a_rejection_keeps_status_code_data_and_headers() -> None:
    rejected = Rejected(
        405, -32601, "x", "No.", data={"a": 1}, headers=(("allow", "POST"),), request_id="theirs"
    )
    reply = explained(inbound(b""), rejected)
    assert (reply.status, reply.headers) == (405, (("allow", "POST"),))
    error = {"code": -32601, "message": "No.", "data": {"a": 1}}
    assert json.loads(reply.body) == {"jsonrpc": "2.0", "id": "theirs", "error": error}


def test_a_rejection_of_a_known_message_echoes_its_id() -> None:
    rejected = Rejected(400, -32602, "x", "No.", request_id="another")
    assert json.loads(explained(asking(), rejected).body)["id"] == 1


WHERE = f'resource_metadata="{PUBLIC}/.well-known/oauth-protected-resource/mcp'
SCOPES = 'scope="mcp.list mcp.call"'
TEXT = 'error_description="No."'


@pytest.mark.parametrize(
    ("refused", "server", "header"),
    [
        (Unauthenticated(401, "token_missing", "No."), "", f'Bearer {WHERE}", {SCOPES}'),
        (Unauthenticated(401, "token_missing", "No."), "docs", f'Bearer {WHERE}/docs", {SCOPES}'),
        (
            Unauthenticated(401, "token_expired", "No.", error="invalid_token"),
            "",
            f'Bearer {WHERE}", {SCOPES}, error="invalid_token", {TEXT}',
        ),
        (
            Unauthenticated(
                403, "scope_missing", "No.", error="insufficient_scope", scopes=("mcp.call", "mcp.x")
            ),
            "",
            f'Bearer error="insufficient_scope", scope="mcp.call mcp.x", {WHERE}", {TEXT}',
        ),
    ],
)
def test_a_stranger_is_challenged(refused: Unauthenticated, server: str, header: str) -> None:
    reply = explained(inbound(b"", server=server), refused)
    assert (reply.status, dict(reply.headers)) == (refused.http, {"www-authenticate": header})


def test_a_stranger_without_a_request_is_challenged() -> None:
    reply = explained(None, Unauthenticated(401, "token_missing", "No."))
    assert dict(reply.headers) == {"www-authenticate": f'Bearer {WHERE}", {SCOPES}'}


def test_a_stranger_is_not_told_why_a_token_does_not_count() -> None:
    reply = explained(inbound(b""), Unauthenticated(401, "token_revoked", "No.", error="invalid_token"))
    assert b"revoked" not in reply.body + repr(reply.headers).encode()


@pytest.mark.parametrize(
    ("heard", "code"),
    [
        (Rejected(200, -32602, "unknown_tool", "Unknown tool: x"), -32602),
        (PolicyFault("policy_error", SECRET), None),
    ],
    ids=["hidden", "undecided"],
)
def test_what_is_concealed_is_answered_in_other_words(heard: Failure, code: int | None) -> None:
    def conceal(reached: Reached, failure: Failure) -> None:
        raise heard

    message = json.loads(explained(routed(), failing(40301), conceal=conceal).body)
    assert message.get("error", {}).get("code") == code
    assert b"40301" not in json.dumps(message).encode()


def test_what_is_concealed_stands_in_the_log() -> None:
    def conceal(reached: Reached, failure: Failure) -> None:
        raise Rejected(200, -32602, "unknown_tool", "Unknown tool: x")

    lines = Lines()
    explained(routed(), failing(40301), conceal=conceal, lines=lines)
    assert [(line["event"], line["reason"]) for line in lines.lines] == [("policy_decision", "policy_denied")]


LOGGED: list[tuple[Failure, str, str]] = [
    (UpstreamFault.timeout(SECRET, effect=Effect.POSSIBLE), "error", "upstream_timeout"),
    (UpstreamFault.unavailable(SECRET, effect=Effect.NONE), "error", "upstream_error"),
    (UpstreamFault.protocol(SECRET), "error", "upstream_error"),
    (AuditFault(SECRET), "error", "request_failed"),
    (PolicyFault("policy_error", SECRET), "error", "request_failed"),
    (Unauthenticated(401, "token_missing", "No."), "warning", "auth_failure"),
    (failing(40301), "info", "policy_decision"),
    (failing(40901), "info", "request_refused"),
    (Rejected(400, -32600, "bad_id", "No."), "info", "request_refused"),
    *((Rejected(400, -32600, reason, "No."), "warning", "security_violation") for reason in sorted(SECURITY)),
]


@pytest.mark.parametrize(("failure", "level", "event"), LOGGED)
def test_a_failure_is_one_line_under_its_own_word(failure: Failure, level: str, event: str) -> None:
    lines = Lines()
    explained(inbound(b""), failure, lines=lines)
    assert [(line["level"], line["event"], line["reason"]) for line in lines.lines] == [
        (level, event, failure.reason)
    ]


@pytest.mark.parametrize("failure", [failure for failure, _, _ in LOGGED])
@pytest.mark.parametrize("early", [True, False])
def test_a_line_names_the_request_and_holds_no_token(failure: Failure, early: bool) -> None:
    lines = Lines()
    caller = authenticated(call_message(), headers={"authorization": f"Bearer {TOKEN}"})
    explained(caller.inbound if early else identified(caller=caller), failure, lines=lines)
    (line,) = lines.lines
    assert line["correlation_id"] == caller.inbound.request_id
    assert TOKEN not in msgspec.json.encode(line).decode()


def test_the_detail_of_a_fault_stands_in_the_log() -> None:
    lines = Lines()
    explained(redacted(), UpstreamFault.protocol(SECRET), lines=lines)
    assert (lines.lines[0]["detail"], lines.lines[0]["effect"]) == (SECRET, "possible")


@pytest.mark.parametrize(
    ("failure", "address"),
    [
        (Unauthenticated(401, "token_missing", "No."), "192.0.2.7"),
        (Rejected(400, -32600, "duplicate_key", "No."), "192.0.2.7"),
        (failing(40301), None),
        (AuditFault(SECRET), None),
    ],
)
def test_addresses_stand_only_in_lines_that_are_searched_by_them(
    failure: Failure, address: str | None
) -> None:
    lines = Lines()
    explained(inbound(b""), failure, lines=lines)
    assert lines.lines[0].get("source_ip") == address


@pytest.mark.parametrize(
    "failure", [Unauthenticated(401, "x", "No."), Rejected(400, -32600, "duplicate_key", "No.")]
)
def test_without_a_request_there_is_no_address(failure: Failure) -> None:
    lines = Lines()
    explained(None, failure, lines=lines)
    assert (lines.lines[0]["source_ip"], lines.lines[0]["correlation_id"]) == ("", "")


class Talk:
    """Problems that one clock and one log see."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.lines = Lines()
        self.problems = Problems(public_url=PUBLIC, conceal=reveal, clock=self.clock, log=self.lines)

    def fail(self, times: int, reached: Reached | None, failure: Failure) -> None:
        for _ in range(times):
            self.problems.explain(reached, failure)


def test_strangers_do_not_fill_the_log_and_it_says_how_much_it_left_out() -> None:
    talk = Talk()
    talk.fail(5000, inbound(b""), Unauthenticated(401, "token_missing", "No."))
    assert talk.lines.events() == ["auth_failure"] * LINES
    talk.clock.seconds += 1
    talk.fail(1, None, Rejected(421, -32600, "host_not_allowed", "No."))
    assert talk.lines.events()[LINES:] == ["lines_withheld", "request_refused"]
    assert talk.lines.lines[LINES]["count"] == 5000 - LINES


def test_a_caller_who_asks_without_end_does_not_fill_the_log() -> None:
    talk = Talk()
    talk.fail(500, asking(), failing(42901))
    assert len(talk.lines.lines) == LINES


def test_what_known_callers_are_refused_and_what_fails_is_always_said() -> None:
    talk = Talk()
    talk.fail(LINES + 10, asking(), failing(40301))
    talk.fail(LINES + 10, None, AuditFault("no room"))
    assert len(talk.lines.lines) == 2 * (LINES + 10)


def test_the_log_says_what_a_refused_token_said_of_itself_and_the_answer_does_not() -> None:
    refused = invalid(Reason.EXPIRED, expired_for_s=600, iss="https://idp.example", kid="k", aud=["x"])
    log = Lines()
    problems = Problems(public_url=PUBLIC, conceal=reveal, clock=HandClock(), log=log)
    reply = problems.explain(inbound(), refused)
    assert b"idp.example" not in reply.body
    failure, detail = log.lines
    assert (failure["event"], failure["iss"], failure["kid"], failure["aud"]) == (
        "auth_failure", "https://idp.example", "k", ["x"],
    )  # fmt: skip
    assert "expired_for_s" not in failure
    assert (detail["event"], detail["expired_for_s"]) == ("jwt_invalid", 600)


def test_every_failed_authentication_is_counted() -> None:
    def counted() -> str:
        lines = metrics.exposition().decode().splitlines()
        return next((line for line in lines if 'failures_total{reason="token_critical"}' in line), "0")

    before = float(counted().split()[-1])
    problems = Problems(public_url=PUBLIC, conceal=reveal, clock=HandClock(), log=Lines())
    problems.explain(inbound(), invalid(Reason.CRITICAL))
    assert float(counted().split()[-1]) == before + 1
