"""The log's own events: what it says of itself, and how it closes a call whose end nobody recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airlock.audit.entry import Committed, commitment
from airlock.model.entry import Event, Personal, Severity

if TYPE_CHECKING:
    from airlock.core.clock import Clock

STEP_MIN = 1.0
"""Seconds by which the two clocks must drift apart to be a row."""
STEP_HIGH = 5.0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the first entry of a chain and every start say of the process."""

    origin: str
    """Name of the log; a chain adds its uid."""
    host: str
    """Committed, not written: the name of a machine may be the name of a person."""
    version: str
    configuration_digest: str
    signer_keys: tuple[str, ...] = ()


class Predecessor(msgspec.Struct, frozen=True, kw_only=True):
    """The chain that a new one continues, up to where the old one was last known."""

    chain_uid: str
    seq: int
    hash: str | None


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """An entry and its personal record, as they were sealed."""

    entry: bytes
    personal: bytes


def system(action: str, metadata: dict[str, Any], *, severity: Severity = "LOW", reason: str = "") -> Event:
    return Event(event_type="system", action=action, metadata=metadata, severity=severity, reason=reason)


def chain_open(
    facts: Facts, chain_uid: str, salt: bytes, predecessor: Predecessor | None = None, why: str = ""
) -> tuple[Event, Committed]:
    """First entry of a chain. With a predecessor it is an alarm: something was cut, restored or lost."""
    metadata: dict[str, Any] = {
        "origin": f"{facts.origin}/{chain_uid}",
        "version": facts.version,
        "configuration_digest": facts.configuration_digest,
        "signer_keys": list(facts.signer_keys),
    }
    if predecessor is not None:
        metadata["predecessor"] = msgspec.structs.asdict(predecessor)
    event = system("chain_open", metadata, severity="CRITICAL" if predecessor else "LOW", reason=why)
    values = {"host": facts.host}
    record = msgspec.json.encode({"salt": salt.hex(), "values": values})
    return event, Committed(commit={"host": commitment(salt, "host", facts.host)}, record=record)


def process_start(facts: Facts, metadata: dict[str, Any]) -> Event:
    return system(
        "process_start",
        {"version": facts.version, "configuration_digest": facts.configuration_digest, **metadata},
    )


def outcome_unknown(intent: Whole) -> Event:
    """The outcome of an intent whose end nobody recorded: whether it had its effect cannot be told."""
    members = msgspec.json.decode(intent.entry, type=dict[str, Any])
    return Event(
        event_type=members["event_type"],
        phase="outcome",
        action=members["action"],
        decision="error",
        reason="outcome_unknown",
        severity="HIGH",
        metadata={"intent_chain": members["chain_uid"], "intent_seq": members["seq"]},
        personal=_who(intent.personal),
        **{name: members[name] for name in _CARRIED if name in members},
    )


_CARRIED = (
    "resource",
    "server_id",
    "tool_name",
    "definition_digest",
    "request_id",
    "correlation_id",
    "tenant",
    "identity",
    "policy_revision",
    "lease_epoch",
)
_WHO = ("issuer", "subject", "source_ip", "token_id", "user_agent", "session_digest", "client_info")


def _who(record: bytes) -> Personal:
    """The caller of an intent, so that a search for a person or an address finds the outcome too."""
    if not record:
        return Personal()
    values = msgspec.json.decode(record, type=dict[str, Any]).get("values", {})
    return msgspec.convert({name: values[name] for name in _WHO if name in values}, Personal)


class Steps:
    """Notices when the wall clock was moved: it then drifts away from the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart = clock.wall() - clock.monotonic()

    def look(self) -> Event | None:
        """A `clock_step` row if the wall clock moved by more than a second since the last look."""
        apart = self._clock.wall() - self._clock.monotonic()
        moved = apart - self._apart
        if abs(moved) <= STEP_MIN:
            return None
        self._apart = apart
        severity: Severity = "HIGH" if abs(moved) > STEP_HIGH else "MEDIUM"
        return system("clock_step", {"moved_ms": round(moved * 1000)}, severity=severity)
