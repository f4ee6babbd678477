"""What a refused call looks like on the wire: a tool error, a JSON-RPC error, or a bare HTTP answer.

The same object tells a program everything: `error.data`, or `_meta["dev.airlock/refusal"]` of a tool error.
Its text is one or two plain sentences, because models read them. `effect` is never left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from airlock.core.errors import Effect, Fault, Refused, Rejected, Unauthenticated

REFUSAL_KEY = "dev.airlock/refusal"

CONTAINED = 40302

REASONS: Mapping[int, str] = {
    40301: "policy_denied",
    CONTAINED: "contained",
    40303: "approval_required",
    40304: "approval_denied",
    40305: "link_required",
    40901: "definition_not_approved",
    41001: "input_window_lost",
    42901: "rate_limited",
    42902: "budget_exhausted",
    50001: "obligation_failed",
    50201: "upstream_protocol_error",
    50301: "upstream_unavailable",
    50302: "control_unavailable",
    50303: "audit_unavailable",
    50401: "upstream_timeout",
}
"""The codes of refusals and the word that clients see: stable, never reused, no codes of JSON-RPC."""

RETRY_AFTER: Mapping[int, int] = {42901: 1, 50301: 5}
"""Seconds for codes that always carry `retry_after`, where the refusal itself names none."""

TRANSIENT = frozenset({41001, 42901, 50301, 50302, 50303, 50401})
"""Codes that the same call may not meet again."""

WIDE_SCOPES = frozenset({"principal", "client", "tenant"})
"""Who is contained as a whole gets a JSON-RPC error with HTTP 403 for every method."""

_WAIT = "Do not retry before retry_after and do not use another tool or identity for the same action."
_ADVICE: Mapping[int, str] = {
    40301: "Do not retry the same call; policy answers the same way until it or the arguments change.",
    40303: "Only somebody else can agree: ask the operator, and name this decision_id.",
    40304: "Do not retry: a person said no.",
    40305: "Show the link to the person whom you work for; call again when they have logged in.",
    40901: "Wait until an operator has approved the changed definition.",
    41001: "Call again from the start.",
}
_MAYBE = "The call may have taken effect: find out before you repeat it."

Form = Literal["tool_error", "rpc_error", "http"]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a refusal tells, as values."""

    code: int
    reason: str
    text: str
    decision_id: str
    policy_revision: str = ""
    incident_id: str = ""
    scope: dict[str, str] | None = None
    expires_at: float | None = None
    """Unix seconds; the visible end of a lease."""
    retry_after: int | None = None
    effect: Effect = Effect.NONE
    policy_reason: str | None = None
    brief: bool = False
    """Whether programs are told as little as they can use."""


def refusal(
    error: Refused | Fault,
    *,
    decision_id: str,
    now: float,
    policy_revision: str = "",
    incident_id: str = "",
) -> Refusal:
    """The wire view of an error. `now` (Unix seconds) makes `retry_after` agree with `expires_at`.

    The word comes from the code: what the audit row says in more detail stays there.
    """
    refused = error if isinstance(error, Refused) else None
    expires_at = refused.expires_at if refused else None
    retry_after = error.retry_after or RETRY_AFTER.get(error.code)
    if expires_at is not None:
        retry_after = max(1, math.ceil(expires_at - now))
    return Refusal(
        code=error.code,
        reason=REASONS.get(error.code, error.reason),
        text=error.text,
        decision_id=decision_id,
        policy_revision=policy_revision,
        incident_id=incident_id,
        scope=refused.scope if refused else None,
        expires_at=expires_at,
        retry_after=retry_after,
        effect=error.effect,
        policy_reason=refused.policy_reason if refused else None,
    )


def minimal(refusal: Refusal) -> Refusal:
    """The refusal without what tells of leases, incidents and policy (R-5)."""
    return msgspec.structs.replace(
        refusal,
        policy_revision="",
        incident_id="",
        scope=None,
        expires_at=None,
        policy_reason=None,
        brief=True,
    )


def form(error: Refused | Fault, method: str) -> Form:
    """How a refusal is told.

    Tool errors are preferred because models see them and can act on them. Defects of the message, items
    that do not exist for the caller, and a caller contained as a whole are JSON-RPC errors; credentials
    and blocked addresses are answered by HTTP alone.
    """
    if isinstance(error, Unauthenticated):
        return "http"
    if isinstance(error, Rejected) or error.code not in REASONS:
        return "rpc_error"
    kind = _scope_kind(error)
    if kind == "address":
        return "http"
    return "tool_error" if method == "tools/call" and kind not in WIDE_SCOPES else "rpc_error"


def http_status(error: Refused | Fault) -> int:
    """The HTTP status that goes with the form: refusals are answers, so 200, unless transport is meant."""
    if isinstance(error, Rejected | Unauthenticated):
        return error.http
    kind = _scope_kind(error)
    return 403 if kind == "address" or kind in WIDE_SCOPES else 200


def is_contained(error: Refused | Fault) -> bool:
    """Whether containment is the reason."""
    return error.code == CONTAINED


def is_blocked(error: Refused | Fault) -> bool:
    """Whether the caller's address is blocked: it learns no more, and keeps no connection."""
    return _scope_kind(error) == "address"


def _scope_kind(error: Refused | Fault) -> str:
    if not isinstance(error, Refused) or error.code != CONTAINED or error.scope is None:
        return ""
    return error.scope.get("kind", "")


def refusal_data(refusal: Refusal) -> dict[str, Any]:
    """The object for programs. Members that do not apply are absent; `effect` is always there."""
    data: dict[str, Any] = {
        "code": refusal.code,
        "reason": refusal.reason,
        "decision_id": refusal.decision_id,
        "policy_revision": refusal.policy_revision,
        "incident_id": refusal.incident_id,
        "policy_reason": refusal.policy_reason,
        "scope": refusal.scope,
        "expires_at": None if refusal.expires_at is None else _time(refusal.expires_at),
        "retry_after": refusal.retry_after,
    }
    data = {name: value for name, value in data.items() if value not in (None, "")}
    data["effect"] = refusal.effect.value
    if refusal.brief:
        return data
    data["retryable"] = refusal.retry_after is not None or _transient(refusal)
    advice = _advice(refusal)
    if advice:
        data["advice"] = advice
    return data


def _transient(refusal: Refusal) -> bool:
    return refusal.code in TRANSIENT and refusal.effect is Effect.NONE


def _advice(refusal: Refusal) -> str:
    if refusal.effect is Effect.POSSIBLE:
        return _MAYBE
    return _WAIT if refusal.retry_after is not None else _ADVICE.get(refusal.code, "")


def sentences(refusal: Refusal) -> str:
    """One or two sentences: what happened, and the incident and the time where there are any."""
    incident = f"Incident {refusal.incident_id}" if refusal.incident_id else ""
    until = "" if refusal.expires_at is None else f"until {_time(refusal.expires_at)}"
    wait = f"try again in {refusal.retry_after} s" if refusal.retry_after is not None and not until else ""
    parts = [part for part in (incident, until, wait) if part]
    if not parts:
        return refusal.text
    second = ", ".join(parts)
    return f"{refusal.text} {second[0].upper()}{second[1:]}."


def tool_error(refusal: Refusal, *, modern: bool) -> dict[str, Any]:
    """The result of a `tools/call` that was refused."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": sentences(refusal)}],
        "isError": True,
        "_meta": {REFUSAL_KEY: refusal_data(refusal)},
    }
    return {"resultType": "complete", **result} if modern else result


def rpc_error(refusal: Refusal) -> dict[str, Any]:
    """The error object (`code`, `message`, `data`) of any other method."""
    return {"code": refusal.code, "message": sentences(refusal), "data": refusal_data(refusal)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
