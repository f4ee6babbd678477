"""What refused calls look like."""

from __future__ import annotations

from typing import Any

import pytest

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
from airlock.mcp.refusals import (
    Refusal,
    form,
    http_status,
    refusal,
    refusal_data,
    rpc_error,
    sentences,
    tool_error,
)

NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z


def denied(code: int = 40301, **details: Any) -> Refused:
    return Refused(Stage.AUTHORIZE, code, "some_word", "This is not allowed.", **details)


def contained(kind: str) -> Refused:
    return denied(40302, scope={"kind": kind})


def seen(error: Refused | Fault, **details: Any) -> Refusal:
    return refusal(error, decision_id="d-1", now=NOON, **details)


ROWS: list[tuple[Refused | Fault, str, str, int]] = [
    (Rejected(400, -32600, "bad_id", "No."), "rpc_error", "rpc_error", 400),
    (Rejected(200, -32602, "unknown_tool", "Unknown tool: x"), "rpc_error", "rpc_error", 200),
    (Unauthenticated(401, "no_token", "No."), "http", "http", 401),
    (denied(), "tool_error", "rpc_error", 200),
    (denied(40302), "tool_error", "rpc_error", 200),
    (contained("tool"), "tool_error", "rpc_error", 200),
    (contained("server"), "tool_error", "rpc_error", 200),
    (contained("principal"), "rpc_error", "rpc_error", 403),
    (contained("client"), "rpc_error", "rpc_error", 403),
    (contained("tenant"), "rpc_error", "rpc_error", 403),
    (contained("address"), "http", "http", 403),
    (denied(40303), "tool_error", "rpc_error", 200),
    (denied(40901, scope={"kind": "tenant"}), "tool_error", "rpc_error", 200),
    (denied(42901, retry_after=3), "tool_error", "rpc_error", 200),
    (UpstreamFault.protocol("x"), "tool_error", "rpc_error", 200),
    (PolicyFault("policy_error", "x"), "tool_error", "rpc_error", 200),
    (AuditFault("x"), "tool_error", "rpc_error", 200),
    (Fault(Stage.FORWARD, -32603, "internal_error", "No."), "rpc_error", "rpc_error", 200),
]


@pytest.mark.parametrize(("error", "called", "other", "http"), ROWS)
def test_the_form_follows_from_what_is_refused(error: Any, called: str, other: str, http: int) -> None:
    assert (form(error, "tools/call"), form(error, "tools/list"), http_status(error)) == (called, other, http)


def test_data_of_a_containment_is_whole() -> None:
    scope = {"kind": "tool", "server": "github", "name": "create_issue"}
    error = denied(40302, scope=scope, expires_at=NOON + 899.5)
    data = refusal_data(seen(error, policy_revision="sha256:9f", incident_id="INC-1"))
    assert data.pop("advice").startswith("Do not retry before retry_after")
    assert data == {
        "code": 40302,
        "reason": "contained",
        "decision_id": "d-1",
        "policy_revision": "sha256:9f",
        "incident_id": "INC-1",
        "scope": scope,
        "expires_at": "2026-11-21T12:14:59Z",
        "retry_after": 900,
        "retryable": True,
        "effect": "none",
    }


def test_r4_a_lease_without_visible_end_says_nothing_of_time() -> None:
    data = refusal_data(seen(contained("tool")))
    assert "retry_after" not in data
    assert "expires_at" not in data
    assert data["retryable"] is False


@pytest.mark.parametrize("expires_at", [NOON - 60, NOON, NOON + 0.2])
def test_r4_retry_after_is_at_least_one_second(expires_at: float) -> None:
    assert seen(denied(40302, expires_at=expires_at)).retry_after == 1


def test_r4_a_policy_denial_carries_the_policys_own_code() -> None:
    assert refusal_data(seen(denied(policy_reason="off_hours")))["policy_reason"] == "off_hours"


@pytest.mark.parametrize(("code", "seconds"), [(42901, 1), (50301, 5), (40301, None)])
def test_r4_some_codes_always_say_when(code: int, seconds: int | None) -> None:
    assert seen(denied(code)).retry_after == seconds


@pytest.mark.parametrize("effect", list(Effect))
def test_r2_the_effect_is_never_left_out(effect: Effect) -> None:
    assert refusal_data(seen(denied(effect=effect)))["effect"] == effect.value


def test_r2_a_call_that_may_have_run_is_not_to_be_repeated_blindly() -> None:
    data = refusal_data(seen(UpstreamFault.timeout("x", effect=Effect.POSSIBLE)))
    assert data["retryable"] is False
    assert "may have taken effect" in data["advice"]


def test_a_timeout_without_effect_may_be_repeated() -> None:
    assert refusal_data(seen(UpstreamFault.timeout("x", effect=Effect.NONE)))["retryable"] is True


def test_a_code_without_advice_gives_none() -> None:
    assert "advice" not in refusal_data(seen(UpstreamFault.protocol("x", effect=Effect.NONE)))


def test_the_word_of_the_audit_row_stays_there() -> None:
    assert refusal_data(seen(PolicyFault("policy_error", "stack trace")))["reason"] == "control_unavailable"


def test_a_code_outside_the_table_keeps_its_word() -> None:
    assert seen(Fault(Stage.FORWARD, -32603, "internal_error", "No.")).reason == "internal_error"


@pytest.mark.parametrize(
    ("error", "incident", "text"),
    [
        (denied(), "", "This is not allowed."),
        (denied(), "INC-1", "This is not allowed. Incident INC-1."),
        (denied(expires_at=NOON), "", "This is not allowed. Until 2026-11-21T12:00:00Z."),
        (
            denied(expires_at=NOON),
            "INC-1",
            "This is not allowed. Incident INC-1, until 2026-11-21T12:00:00Z.",
        ),
        (denied(42901, retry_after=3), "", "This is not allowed. Try again in 3 s."),
    ],
)
def test_r5_the_text_is_one_or_two_sentences(error: Refused, incident: str, text: str) -> None:
    assert sentences(seen(error, incident_id=incident)) == text


@pytest.mark.parametrize("modern", [True, False])
def test_r6_a_tool_error_has_the_shape_of_its_era(modern: bool) -> None:
    result = tool_error(seen(denied()), modern=modern)
    assert result.pop("resultType", None) == ("complete" if modern else None)
    assert result == {
        "content": [{"type": "text", "text": "This is not allowed."}],
        "isError": True,
        "_meta": {"dev.airlock/refusal": refusal_data(seen(denied()))},
    }


def test_other_methods_get_the_same_object_as_error_data() -> None:
    assert rpc_error(seen(denied())) == {
        "code": 40301,
        "message": "This is not allowed.",
        "data": refusal_data(seen(denied())),
    }
