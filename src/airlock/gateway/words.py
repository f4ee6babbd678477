"""The words of the rows that a call leaves: actions, reasons, severities."""

from __future__ import annotations

from airlock.core.errors import Fault, Refused, Rejected
from airlock.mcp.methods import LEGACY_METHODS, MODERN_METHODS
from airlock.model.entry import Severity
from airlock.model.snapshot import Snapshot

ACTIONS = {
    "tools/call": "tool_call",
    "resources/read": "resource_read",
    "resources/subscribe": "subscribe",
    "resources/unsubscribe": "subscribe",
    "logging/setLevel": "session",
    "prompts/get": "prompt_get",
    "completion/complete": "completion",
    "tools/list": "tools_list",
    "resources/list": "resources_list",
    "resources/templates/list": "resources_list",
    "prompts/list": "prompts_list",
    "server/discover": "discover",
    "subscriptions/listen": "subscribe",
    "initialize": "initialize",
    "ping": "ping",
}
"""MCP method -> word of the audit vocabulary. What has no word of its own is a `security_violation`."""

METHODS = MODERN_METHODS | LEGACY_METHODS
"""What a row names. Any other method is the caller's own text, which may hold anything."""

DIFFERENTIALS = frozenset({"duplicate_key", "case_collision", "case_variant_key", "case_variant_argument"})
"""What two parsers of one message would understand differently."""

LIMITS = frozenset({"rate_limited", "budget_exhausted"})
"""Refusals that one caller can cause without end, at no cost of its own."""

ACTION_OF_REASON = {
    **dict.fromkeys(DIFFERENTIALS, "security_violation"),
    **dict.fromkeys(LIMITS, "rate_limit_hit"),
    "request_state_invalid": "mrtr",
    "session_unknown": "session",
    "unexpected_response": "session",
    "event_unknown": "session",
    "session_terminated": "session",
    "session_hijack_attempt": "session",
    "scope_missing": "token_validate",
    "login_insufficient": "token_validate",
}
"""Refusals that say more of what was tried than the method does."""

SEVERITY: dict[str, Severity] = {
    "cross_tenant_attempt": "CRITICAL",
    "session_hijack_attempt": "CRITICAL",
    "definition_not_approved": "CRITICAL",
    "secret_to_wrong_destination": "HIGH",
    "audit_unavailable": "CRITICAL",
    "internal_error": "HIGH",
    **dict.fromkeys(DIFFERENTIALS, "HIGH"),
    **dict.fromkeys(LIMITS, "MEDIUM"),
    "policy_denied": "MEDIUM",
    "contained": "MEDIUM",
    "contained_in_flight": "MEDIUM",
}
"""Where it is not what follows from the decision."""


def reason_of(failure: Refused | Fault) -> str:
    """The stable word of a failure, with the policy's own word behind it."""
    if isinstance(failure, Rejected) and failure.reason in DIFFERENTIALS:
        return f"parser_differential: {failure.reason}"
    policy = failure.policy_reason if isinstance(failure, Refused) else None
    return f"{failure.reason}: {policy}" if policy and policy != failure.reason else failure.reason


def known_server(name: str, snapshot: Snapshot) -> str:
    """The name if it is one of ours: a made-up one is the caller's own text, which no entry keeps."""
    return name if name in snapshot.registry.servers else ""


def risk(sensitivity: str) -> Severity:
    """The severity of a call that was allowed, from the risk class of its tool."""
    return "MEDIUM" if sensitivity in {"high", "critical"} else "LOW"
