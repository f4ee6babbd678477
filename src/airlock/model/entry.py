"""What a room hands to the audit log: one event, its public attributes apart from its personal ones.

Vocabularies and limits are those of `airlock.audit`. The log adds `chain_uid`, `seq`,
`tenant_seq`, `id`, `timestamp`, hashes and commitments.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Severity = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]


class Personal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Values that a person can be found by. They are committed in the entry and stored beside it, erasable.

    `arguments` and `result` are committed always and stored only if `audit.bodies` asks for it.
    `inputs` is what is kept of the policy's question, encrypted; its plain digest is `input_digest`.
    """

    issuer: str = ""
    subject: str = ""
    actor: tuple[str, ...] = ()
    source_ip: str = ""
    source_port: int = 0
    user_agent: str = ""
    token_id: str = ""
    session_digest: str = ""
    client_info: str = ""
    """What the client says of itself, as compact JSON; a claim, not a fact."""
    arguments: bytes | None = None
    """RFC 8785 form of the forwarded (or refused) arguments."""
    arguments_digest: str = ""
    result: bytes | None = None
    input_digest: str = ""
    inputs: bytes | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One row to be."""

    event_type: Literal["call", "auth", "policy", "redaction", "admin", "incident", "evidence", "system"]
    phase: Literal["single", "intent", "outcome"] = "single"
    action: str
    resource: str = ""
    """`mcp://{server}/{tool}`, the canonical identity."""
    server_id: str = ""
    tool_name: str = ""
    definition_digest: str = ""
    request_id: str = ""
    correlation_id: str = ""
    tenant: str = ""
    identity: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """Non-personal part of the identity record."""
    policy_revision: str = ""
    lease_epoch: int = 0
    decision: Literal["allow", "deny", "error"] | None = None
    reason: str = ""
    severity: Severity = "LOW"
    latency_ms: int | None = None
    redaction_count: int = 0
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    occurred_at: str | None = None
    personal: Personal = Personal()


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Proof that an event is durable: where it stands in the log."""

    chain_uid: str
    seq: int
    id: str
    hash: str
