"""The closed vocabularies of an entry. A word that is not here is misuse, and the event is refused.

Pure. Readers may rely on these lists; extending one is a change of the format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airlock.model.entry import Event

ACTIONS = frozenset(
    (
        "initialize",
        "discover",
        "ping",
        "tools_list",
        "resources_list",
        "prompts_list",
        "subscribe",
        "session",
        "mrtr",
        "tool_intake",
        "server_start",
        "discovery",
        "tool_call",
        "resource_read",
        "prompt_get",
        "completion",
        "sampling",
        "elicitation",
        "roots_list",
        "list_changed",
        "login",
        "logout",
        "credential",
        "token_validate",
        "policy_evaluate",
        "policy_load",
        "policy_rollback",
        "redact_data",
        "rate_limit_hit",
        "path_traversal_attempt",
        "privilege_escalation_attempt",
        "security_violation",
        "tool_drift",
        "config_change",
        "admin_call",
        "lease_applied",
        "lease_released",
        "lease_expired",
        "approval",
        "incident_event",
        "playbook_step",
        "evidence_event",
        "query_run",
        "export",
        "erasure",
        "retention_cleanup",
        "legal_hold",
        "checkpoint_accepted",
        "heartbeat",
        "clock_step",
        "process_start",
        "process_stop",
        "chain_open",
        "chain_close",
        "outcome_unknown",
    )
)
EVENT_TYPES = frozenset(("call", "auth", "policy", "redaction", "admin", "incident", "evidence", "system"))
SEVERITIES = frozenset(("LOW", "MEDIUM", "HIGH", "CRITICAL"))
PHASES = {
    "single": frozenset((None, "allow", "deny", "error")),
    "intent": frozenset((None,)),
    "outcome": frozenset(("allow", "deny", "error")),
}
"""Which decisions a phase may carry: an intent decides nothing, so that counts of decisions count calls."""


def check_words(event: Event) -> None:
    """Raise ValueError for an event outside the vocabulary."""
    if event.action not in ACTIONS:
        raise ValueError(f"unknown action {event.action!r}")
    if event.event_type not in EVENT_TYPES or event.severity not in SEVERITIES:
        raise ValueError(f"unknown event type {event.event_type!r} or severity {event.severity!r}")
    if event.decision not in PHASES.get(event.phase, ()):
        raise ValueError(f"phase {event.phase!r} does not carry decision {event.decision!r}")
    if event.redaction_count and event.action != "redact_data":
        raise ValueError("redaction_count belongs to redact_data rows, so that sums never double")
