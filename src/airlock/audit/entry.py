"""Format v1 of a log entry: from an event and its place in the chain to the bytes that are hashed.

Pure: no clock, no randomness, no I/O. Invariants:
- An entry is RFC 8785 JSON: sorted keys `[a-z0-9_]+`, integers only, at most 65,535 bytes.
- No personal value is in an entry; it carries `commit`, a salted SHA-256 per personal field. The values
  and the row salt make up the personal record, which can be erased without touching a hash.
- A commitment is over the UTF-8 text exactly as the personal record stores it (lists as JSON, `inputs` as
  base64), so a verifier needs no rule per field. `arguments` and `result` are committed as the bytes given,
  and not stored.
"""

from __future__ import annotations

from binascii import b2a_base64
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from airlock.audit.limits import (
    ENTRY_MAX,
    IDENTITY_MAX,
    METADATA_MAX,
    PERSONAL_TEXT_MAX,
    TEXT_MAX,
    bounded,
    canonical,
    check_timestamp,
    clip,
    count,
)
from airlock.audit.vocabulary import check_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airlock.model.entry import Event, Personal

INPUTS_MAX = 1024 * 1024
"""Bytes of base64; longer policy inputs are committed but not stored, and replay of that row cannot tell."""
SALT_SIZE = 32

PERSONAL_FIELDS = (
    "actor",
    "arguments",
    "arguments_digest",
    "client_info",
    "input_digest",
    "inputs",
    "issuer",
    "result",
    "session_digest",
    "source_ip",
    "source_port",
    "subject",
    "token_id",
    "user_agent",
)
"""Sorted, as the keys of `commit` must be, and in the order of `_personal_values`."""
UNSTORED = frozenset(("arguments", "result"))

_LABELS = tuple((field, f"airlock/v1/{field}".encode()) for field in PERSONAL_FIELDS)
_SHORT = PERSONAL_TEXT_MAX // 6
"""Characters that always fit: none takes more than 6 bytes of JSON."""
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_IN_ORDER = msgspec.json.Encoder()
_EMPTY = sha256().copy
"""Begins a hash; to copy one costs less than to look up the algorithm."""


class Place(Struct, frozen=True, kw_only=True, gc=False):
    """What the log adds to an event: where it stands, when it was recorded, how it is called."""

    chain_uid: str
    seq: int
    previous_hash: str | None
    tenant_seq: int | None
    """None for an event without tenant."""
    id: str
    timestamp: str


class Committed(Struct, frozen=True, kw_only=True, gc=False):
    """Personal values after commitment: `commit` goes into the entry, `record` beside it (empty: nothing)."""

    commit: dict[str, str]
    record: bytes


class _Entry(Struct, kw_only=True, gc=False):
    """Fields in the order of their bytes: the encoder writes them as they stand here."""

    action: str
    chain_uid: str
    commit: dict[str, str]
    correlation_id: str | UnsetType
    decision: str | UnsetType
    definition_digest: str | UnsetType
    event_type: str
    id: str
    identity: Raw | UnsetType
    latency_ms: int | UnsetType
    lease_epoch: int
    metadata: Raw | UnsetType
    occurred_at: str | UnsetType
    phase: str
    policy_revision: str | UnsetType
    previous_hash: str | None
    reason: str | UnsetType
    redaction_count: int
    request_id: str | UnsetType
    resource: str | UnsetType
    seq: int
    server_id: str | UnsetType
    severity: str
    tenant: str | UnsetType
    tenant_seq: int | UnsetType
    timestamp: str
    tool_name: str | UnsetType
    v: int


def field_salt(row_salt: bytes, field: str) -> bytes:
    """Salt of one personal field; handing it out discloses this field and nothing about its neighbours."""
    return hmac_digest(row_salt, f"airlock/v1/{field}".encode(), "sha256")


def commitment(row_salt: bytes, field: str, value: str | bytes) -> str:
    """SHA-256(field salt, UTF-8 of the stored text), hex."""
    raw = value.encode() if isinstance(value, str) else value
    return sha256(field_salt(row_salt, field) + raw).hexdigest()


def entry_hash(entry: bytes) -> str:
    """What `sha256sum` prints for the stored bytes."""
    return sha256(entry).hexdigest()


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 section 2.1."""
    return sha256(b"\0" + entry).digest()


def commit(personal: Personal, row_salt: bytes) -> Committed:
    """Commit to every personal value that is present, and lay out those that are stored.

    Raises UnicodeEncodeError for lone surrogates: `scrub` first.
    """
    padded = row_salt.ljust(64, b"\0")
    # HMAC-SHA-256 written out: both key blocks are hashed once per row instead of once per field.
    inner, outer = sha256(padded.translate(_INNER)).copy, sha256(padded.translate(_OUTER)).copy
    commitments: dict[str, str] = {}
    values: dict[str, str] = {}
    for (field, label), value in zip(_LABELS, _personal_values(personal), strict=True):
        if not value:
            continue
        if isinstance(value, str):
            text = clip(value, PERSONAL_TEXT_MAX) if len(value) > _SHORT and field != "inputs" else value
            raw = text.encode()
            if len(raw) <= INPUTS_MAX:
                values[field] = text
        else:
            raw = value
        salt_inner, salt_outer = inner(), outer()
        salt_inner.update(label)
        salt_outer.update(salt_inner.digest())
        salted = _EMPTY()
        salted.update(salt_outer.digest() + raw)
        commitments[field] = salted.hexdigest()
    if not commitments:
        return Committed(commit=commitments, record=b"")
    return Committed(commit=commitments, record=_IN_ORDER.encode({"salt": row_salt.hex(), "values": values}))


def _personal_values(personal: Personal) -> tuple[str | bytes, ...]:
    """The values of PERSONAL_FIELDS: text where it is stored, bytes where only its commitment is kept."""
    return (
        _IN_ORDER.encode(personal.actor).decode() if personal.actor else "",
        personal.arguments or b"",
        personal.arguments_digest,
        personal.client_info,
        personal.input_digest,
        b2a_base64(personal.inputs, newline=False).decode() if personal.inputs else "",
        personal.issuer,
        personal.result or b"",
        personal.session_digest,
        personal.source_ip,
        str(personal.source_port) if personal.source_port else "",
        personal.subject,
        personal.token_id,
        personal.user_agent,
    )


def encode(event: Event, committed: Committed, place: Place) -> bytes:
    """The bytes of one entry. Raises ValueError for an event outside the vocabulary or the limits."""
    check_words(event)
    texts: Sequence[str] = (
        event.correlation_id,
        event.definition_digest,
        event.policy_revision,
        event.reason,
        event.request_id,
        event.resource,
        event.server_id,
        event.tenant,
        event.tool_name,
    )
    # One sum instead of nine questions: together they are nearly always shorter than one may be.
    if sum(map(len, texts)) >= TEXT_MAX // 6:
        texts = [clip(text) for text in texts]
    correlation_id, definition_digest, revision, reason, request_id, resource, server_id, tenant, tool = texts
    entry = _IN_ORDER.encode(
        _Entry(
            action=event.action,
            chain_uid=place.chain_uid,
            commit=committed.commit,
            correlation_id=correlation_id or UNSET,
            decision=event.decision or UNSET,
            definition_digest=definition_digest or UNSET,
            event_type=event.event_type,
            id=place.id,
            identity=bounded(event.identity, IDENTITY_MAX),
            latency_ms=UNSET if event.latency_ms is None else count(event.latency_ms),
            lease_epoch=count(event.lease_epoch),
            metadata=bounded(event.metadata, METADATA_MAX),
            occurred_at=UNSET if event.occurred_at is None else check_timestamp(event.occurred_at),
            phase=event.phase,
            policy_revision=revision or UNSET,
            previous_hash=place.previous_hash,
            reason=reason or UNSET,
            redaction_count=count(event.redaction_count),
            request_id=request_id or UNSET,
            resource=resource or UNSET,
            seq=place.seq,
            server_id=server_id or UNSET,
            severity=event.severity,
            tenant=tenant or UNSET,
            tenant_seq=UNSET if place.tenant_seq is None else place.tenant_seq,
            timestamp=place.timestamp,
            tool_name=tool or UNSET,
            v=1,
        )
    )
    if len(entry) > ENTRY_MAX:
        raise ValueError(f"entry of {len(entry)} bytes exceeds {ENTRY_MAX}")
    return entry


def scrub(event: Event) -> Event:
    """The event with every lone surrogate, which UTF-8 cannot carry, written out as `\\udXXX`."""
    return cast("Event", _scrubbed(event))


def _scrubbed(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {_scrubbed(key): _scrubbed(member) for key, member in items}
    if isinstance(value, list):
        return [_scrubbed(member) for member in cast("list[object]", value)]
    if isinstance(value, tuple):
        return tuple(_scrubbed(member) for member in cast("tuple[object, ...]", value))
    if isinstance(value, Struct):
        fields: dict[str, Any] = msgspec.structs.asdict(value)
        return msgspec.structs.replace(value, **{name: _scrubbed(each) for name, each in fields.items()})
    return value


class Spooled(Struct, frozen=True, kw_only=True):
    """An entry that was built and could not be written: its members, and its personal record unchanged."""

    members: dict[str, Any]
    personal: bytes

    @classmethod
    def parse(cls, entry: bytes, personal: bytes) -> Spooled:
        return cls(members=msgspec.json.decode(entry, type=dict[str, Any]), personal=personal)

    @property
    def id(self) -> str:
        return self.members["id"]

    @property
    def tenant(self) -> str:
        return self.members.get("tenant", "")


def relocate(spooled: Spooled, place: Place) -> bytes:
    """The entry in a new place: `occurred_at` keeps its first timestamp, metadata its first id."""
    members = dict(spooled.members)
    members.setdefault("occurred_at", members["timestamp"])
    members["metadata"] = {**members.get("metadata", {}), "late": True, "spooled_id": spooled.id}
    members.update(msgspec.structs.asdict(place))
    if place.tenant_seq is None:
        del members["tenant_seq"]
    return canonical(members)
