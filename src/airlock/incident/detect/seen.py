"""A row of the audit log as detection sees it: flat, with the names that rules use. No I/O.

The names are the fields of the published Sigma taxonomy (`docs/detection.md`). Texts that a row does not have
are empty, numbers 0, so that every comparison in a rule means what it says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

_VERSIONS = re.compile(r"[/ ]v?\d[\w.+-]*")
"""What a program says of its version: an update must not look like another program."""

LONGEST = 200
"""Characters of a client's own words that are compared."""


class Seen(msgspec.Struct, kw_only=True):
    """One row. The last five members are what detection knows beyond the row."""

    n: int = 0
    id: str = ""
    at: float = 0.0
    """Unix seconds."""
    tenant: str = ""
    issuer: str = ""
    subject: str = ""
    source_ip: str = ""
    network: str = ""
    """The /24 or /64 of the address."""
    session: str = ""
    """SHA-256 of the session's id."""
    token: str = ""
    client: str = ""
    """What the client says of itself, without versions."""
    event_type: str = ""
    phase: str = "single"
    action: str = ""
    server: str = ""
    tool: str = ""
    target: str = ""
    """What was asked for: `server/tool`, or the short hash of a name that does not exist."""
    digest: str = ""
    revision: str = ""
    """Of the policy."""
    decision: str = ""
    reason: str = ""
    """The stable word."""
    policy_reason: str = ""
    severity: str = ""
    latency_ms: int = 0
    redactions: int = 0
    times: int = 1
    """How many events this row stands for."""
    sensitivity: str = ""
    read_only: int = 0
    destructive: int = 0
    bytes: int = 0
    """Of the result."""
    roles: str = ""
    arguments: str = ""
    """Digest of the arguments."""
    marks: str = ""
    """Words with a blank on each side: ` command injection decoy `."""
    detectors: str = ""
    """What redaction found, likewise."""
    would_deny: str = ""
    of_address: int = 0
    subjects: int = 0
    tokens: int = 0
    """Of refusals before authentication: those of this address, the subjects it claimed and its tokens."""
    kind: str = ""
    """Of a lease: its action."""
    server_tenant: str = ""
    """Who owns the server; empty: everybody."""
    new: int = 0
    collides: int = 0
    """Of an intake: tools that were never seen, and names that another server has too."""
    component: str = ""
    """Of a check of the log: the part that it is about."""
    moved: str = ""
    """`session` or `token`: it was used by another program in another network within the hour."""
    flipped: int = 0
    """1: allowed, and refused to the subject within ten minutes by another policy or with other roles."""
    unusual_hour: int = 0
    """1: none of the subject's days so far has a call at this time of the day."""
    idle_days: float = 0.0
    """Days since the subject last used this tool, as far as memory reaches."""


COLUMNS: tuple[str, ...] = Seen.__struct_fields__


Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
"""A number that the gateway writes: what is larger, a foreign hand wrote, and no database could add it up."""


class _Metadata(msgspec.Struct, frozen=True):
    """What is read of `metadata`; other members are as good as absent."""

    count: Number = 1
    sensitivity: str = ""
    read_only: bool = False
    destructive: bool = False
    result_bytes: Number = 0
    marks: tuple[str, ...] = ()
    detectors: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    would_deny: str = ""
    of_address: Number = 0
    subjects: Number = 0
    tokens: Number = 0
    asked: Number | None = None
    kind: str = ""
    server_tenant: str = ""
    new: Number = 0
    collides: Number = 0
    synthetic: bool = False


class _Side(msgspec.Struct, frozen=True):
    issuer: str = ""
    session_digest: str = ""
    token_id: str = ""
    user_agent: str = ""
    client_info: str = ""
    arguments_digest: str = ""


class _Client(msgspec.Struct, frozen=True):
    name: str = ""


class _Identity(msgspec.Struct, frozen=True):
    roles: tuple[str, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    identity: _Identity = _Identity()


_metadata = msgspec.json.Decoder(_Metadata).decode
_side = msgspec.json.Decoder(_Side).decode
_client_info = msgspec.json.Decoder(_Client).decode
_entry = msgspec.json.Decoder(_Entry).decode

SELECT = (
    "SELECT l.n, l.id, l.timestamp, l.tenant, p.subject, p.source_ip, p.data, l.event_type, l.phase,"
    " l.action,"
    " l.server_id, l.tool_name, l.definition_digest, l.policy_revision, l.decision, l.reason, l.severity,"
    " l.latency_ms, l.redaction_count, l.metadata, l.entry"
    " FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n"
    " WHERE l.n > ? AND l.entry IS NOT NULL ORDER BY l.n LIMIT ?"
)
"""Rows of `audit.db` after a row number, for `of_row`. A row whose content was pruned tells nothing."""


def of_row(row: Sequence[Any]) -> Seen | None:
    """One row of `SELECT`; None for what this gateway did itself to see whether it works.

    A row that a foreign hand made unreadable counts with what can be read of it.
    """
    texts = [value if isinstance(value, str) else "" for value in row]
    _, id_, at, tenant, subject, source_ip, data, event_type, phase, action = texts[:10]
    server, tool, digest, revision, decision, reason, severity, _, _, metadata, _ = texts[10:]
    more = _read(_metadata, metadata, _Metadata())
    if more.synthetic:
        return None
    side = _read(_side, data, _Side())
    word, _, policy_reason = reason.partition(": ")
    return Seen(
        n=row[0],
        id=id_,
        at=seconds(at),
        tenant=tenant,
        issuer=side.issuer,
        subject=subject,
        source_ip=source_ip,
        network=network(source_ip),
        session=side.session_digest,
        token=side.token_id,
        client=client(side.user_agent, side.client_info),
        event_type=event_type,
        phase=phase,
        action=action,
        server=server,
        tool=tool,
        target=_target(server, tool, more.asked),
        digest=digest,
        revision=revision,
        decision=decision,
        reason=word,
        policy_reason=policy_reason,
        severity=severity,
        latency_ms=_number(row[17]),
        redactions=_number(row[18]),
        times=more.count,
        sensitivity=more.sensitivity,
        read_only=int(more.read_only),
        destructive=int(more.destructive),
        bytes=more.result_bytes,
        roles=" ".join(sorted(_read(_entry, row[20], _Entry()).identity.roles))
        if _asks(word, decision)
        else "",
        arguments=side.arguments_digest,
        marks=_words(more.marks),
        detectors=_words(more.detectors),
        would_deny=more.would_deny,
        of_address=more.of_address,
        subjects=more.subjects,
        tokens=more.tokens,
        kind=more.kind,
        server_tenant=more.server_tenant,
        new=more.new,
        collides=more.collides,
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 1 << 53 else 0


def _asks(reason: str, decision: str) -> bool:
    """Whether the roles behind a row are looked at: only where policy decided."""
    return reason == "policy_denied" or decision == "allow"


def _words(words: Sequence[str] | Mapping[str, int]) -> str:
    return f" {' '.join(words)} " if words else ""


def _target(server: str, tool: str, asked: int | None) -> str:
    if asked is not None:
        return f"{server}/#{asked}"
    return f"{server}/{tool}" if tool else ""


def _read(decode: Any, text: str | bytes | None, otherwise: Any) -> Any:
    try:
        return decode(text) if text else otherwise
    except (msgspec.DecodeError, UnicodeError, TypeError, RecursionError):
        return otherwise


def seconds(timestamp: str) -> float:
    """Unix seconds of the `timestamp` of a row; 0 for what is none."""
    try:
        return datetime.fromisoformat(timestamp).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def network(source_ip: str) -> str:
    """The /24 (IPv4, mapped or not) or /64 (IPv6) of an address; empty for what is none."""
    head, dot, _ = source_ip.rpartition(".")
    if dot and ":" not in source_ip:
        return f"{head}.0/24"
    try:
        address = ipaddress.ip_address(source_ip)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return network(str(address.ipv4_mapped))
    return str(ipaddress.ip_network((address, 64), strict=False))


def client(user_agent: str, client_info: str) -> str:
    """Who a client says it is, without versions: an update of a program is the same program."""
    name = _read(_client_info, client_info, _Client()).name
    return _VERSIONS.sub("", f"{user_agent[:LONGEST]} {name[:LONGEST]}").strip()
