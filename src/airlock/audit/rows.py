"""The row that an entry becomes in `audit_log`: one mapping, used to project and to verify.

`metadata` is stored as the entry's own bytes, and as `{}` where the entry has none: the view adds
`$.source_ip` to it, and a NULL would hide the address from operators. Every other absent attribute is NULL.
No I/O.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from airlock.audit.entry import entry_hash, leaf_hash

LINK = ("n", "chain_uid", "seq", "id", "timestamp", "hash", "previous_hash", "leaf_hash", "entry")
"""Columns that stay for ever, and the entry itself."""

COLUMNS = (
    "event_type",
    "phase",
    "occurred_at",
    "correlation_id",
    "request_id",
    "tenant",
    "tenant_seq",
    "action",
    "resource",
    "server_id",
    "tool_name",
    "definition_digest",
    "policy_revision",
    "decision",
    "reason",
    "severity",
    "latency_ms",
    "redaction_count",
    "metadata",
)
"""Columns copied from the entry, so that operators can search."""

Value = str | int | bytes | None


class Columned(msgspec.Struct, frozen=True, gc=False):
    """What is read from an entry. Fields that only evidence needs stay in the stored bytes."""

    chain_uid: str
    seq: int
    id: str
    timestamp: str
    action: str
    previous_hash: str | None = None
    event_type: str | None = None
    phase: str | None = None
    occurred_at: str | None = None
    correlation_id: str | None = None
    request_id: str | None = None
    tenant: str | None = None
    tenant_seq: int | None = None
    resource: str | None = None
    server_id: str | None = None
    tool_name: str | None = None
    definition_digest: str | None = None
    policy_revision: str | None = None
    decision: str | None = None
    reason: str | None = None
    severity: str | None = None
    latency_ms: int | None = None
    redaction_count: int | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    commit: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Side(msgspec.Struct, frozen=True):
    """The erasable side record of an entry."""

    salt: str
    values: dict[str, str] = msgspec.field(default_factory=dict[str, str])


_ENTRY = msgspec.json.Decoder(Columned)
_SIDE = msgspec.json.Decoder(Side)


class ChainRow(NamedTuple):
    """A line of `audit_chains`."""

    chain_uid: str
    origin: str
    opened_at: str
    closed_at: str | None
    predecessor: str | None
    head_seq: int
    head_hash: str | None


class Opening(NamedTuple):
    """What the line of a chain takes from its first entry."""

    origin: str
    predecessor: str | None
    """JSON: chain_uid, seq and hash of the chain that this one continues."""


class _Metadata(msgspec.Struct, frozen=True):
    """The part of `chain_open` that is read. Kept as bytes: its text is what the column holds."""

    origin: str = ""
    predecessor: msgspec.Raw = msgspec.Raw(b"")


class Unreadable(ValueError):
    """Bytes that are no entry or no side record."""


def read(entry: bytes) -> Columned:
    """The projected part of an entry; raises `Unreadable`."""
    try:
        return _ENTRY.decode(entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def read_side(personal: bytes) -> Side:
    """A side record as the journal holds it; raises `Unreadable`."""
    try:
        return _SIDE.decode(personal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def opening(first: Columned) -> Opening:
    """Origin and predecessor as `chain_open` names them; a chain whose beginning is lost has neither."""
    found = _Metadata()
    if first.action == "chain_open":
        found = msgspec.json.decode(first.metadata, type=_Metadata)
    return Opening(
        origin=found.origin or f"unknown/{first.chain_uid}",
        predecessor=str(found.predecessor, "utf-8") or None,
    )


def columns(entry: Columned) -> tuple[Value, ...]:
    """The values of `COLUMNS`, in that order."""
    return (
        entry.event_type,
        entry.phase,
        entry.occurred_at,
        entry.correlation_id,
        entry.request_id,
        entry.tenant,
        entry.tenant_seq,
        entry.action,
        entry.resource,
        entry.server_id,
        entry.tool_name,
        entry.definition_digest,
        entry.policy_revision,
        entry.decision,
        entry.reason,
        entry.severity,
        entry.latency_ms,
        entry.redaction_count,
        str(entry.metadata, "utf-8"),
    )


def link(n: int, entry: Columned, raw: bytes) -> tuple[Value, ...]:
    """The values of `LINK`, in that order: hashes are computed over the stored bytes."""
    return (
        n,
        entry.chain_uid,
        entry.seq,
        entry.id,
        entry.timestamp,
        entry_hash(raw),
        entry.previous_hash,
        leaf_hash(raw),
        raw,
    )
