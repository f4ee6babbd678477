"""What the audit log, the timeline and the row of a bundle say of it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import AuditFault, ConfigError
from airlock.incident import keeping
from airlock.incident.evidence import custody, verify_bundle
from airlock.incident.evidence.bag import PAYLOAD, SIGNATURE
from airlock.incident.evidence.signing import Signer
from airlock.incident.occasion import Occasion
from airlock.incident.orders import EvidenceSafe
from airlock.model.entry import Event, Personal
from airlock.model.evidence import Bundle, CustodyEvent, State, Wanted
from airlock.model.incident import Actor, IncidentEvent
from airlock.model.lease import Unfit
from airlock.store import bundles, incidents, outbox, replicas
from airlock.store.changes import OUTBOX
from airlock.store.database import Store

FOLDER = "evidence"
"""Where bundles are, in the data directory."""

MARKER_WAIT = 5.0
"""Seconds to wait until a worker has put the marker into the log."""

_LOOK_EVERY = 0.05

_STATES: dict[Wanted, State] = {"quick": "quick", "complete": "complete", "seal": "sealed"}

COPIES = 3
"""A bundle takes up to so many times the room of the database: its copy, twice for a moment, and its rows."""

ROOM_LEFT = 0.1
"""Share of the volume that stays free: it is there for the log itself."""

CLOSING = frozenset(("bag", "signature", "signer", "custody"))
"""Steps that must hold whatever the log in the bag looks like."""


def is_whole(steps: list[verify_bundle.Step]) -> bool:
    """Whether a bag is as it was closed. The log in it may contradict itself: that is what it is evidence
    of."""
    return all(step.result == verify_bundle.PASS for step in steps if step.name in CLOSING)


def event_of(bundle: Bundle, reason: str, *, who: str = "") -> Event:
    """A row of the audit log about a bundle."""
    return Event(
        event_type="evidence",
        action="evidence_event",
        correlation_id=bundle.incident,
        reason=reason,
        metadata={
            "bundle": bundle.id,
            "incident": bundle.incident,
            "digest": bundle.digest,
            "key": bundle.key,
            "files": bundle.files,
            "bytes": bundle.size,
        },
        personal=Personal(subject=who or bundle.asked.who),
    )


def lacking(database: int, *, free: int, total: int) -> int:
    """Bytes that the volume lacks for a bundle; 0: there is room. All are bytes."""
    return max(0, COPIES * database - (free - int(total * ROOM_LEFT)))


def begin(store: Store, bundle: Bundle, clock: Clock, pause: Callable[[float], object]) -> list[str]:
    """Leave hold and marker for the log, and wait for a worker to write them; what is not proven without."""
    now = clock.wall()
    hold = msgspec.structs.replace(event_of(bundle, "evidence_hold"), action="legal_hold")
    with store.change(OUTBOX) as change:
        outbox.leave(change.connection, hold, at=now)
        number = outbox.leave(change.connection, event_of(bundle, "evidence_marker"), at=now)
        change.announce()
    deadline = clock.monotonic() + MARKER_WAIT
    while replicas.living(store, now=clock.wall()) and clock.monotonic() < deadline:
        if outbox.place(store, number) is not None:
            return []
        pause(_LOOK_EVERY)
    return ["No gateway wrote the marker of the collection into the log before the copy was made."]


def examined(bag: Path, bundle: Bundle, key: str, now: float) -> Bundle:
    """The row of a bundle whose bag was closed, after all of it was read again and verified."""
    steps = verify_bundle.verify(bag, key)
    files = verify_bundle.manifest(bag / PAYLOAD)
    return msgspec.structs.replace(
        bundle,
        wanted="",
        state=_STATES[bundle.wanted],
        digest=verify_bundle.sha256(bag / verify_bundle.TAGS),
        key=key,
        files=len(files),
        size=sum((bag / name).stat().st_size for name in files),
        collected_at=bundle.collected_at or now,
        sealed_at=now if bundle.wanted == "seal" else bundle.sealed_at,
        verified_at=now,
        verified_exit=verify_bundle.exit_code(steps),
        whole=is_whole(steps),
        not_proven=tuple(verify_bundle.not_proven(bag)),
        problem="",
    )


def closed_at(bag: Path) -> str:
    """When a bag was closed (RFC 3339), by its signed statement. Raises OSError, ValueError."""
    envelope = msgspec.json.decode((bag / SIGNATURE).read_bytes(), type=dict[str, Any])
    statement = msgspec.json.decode(base64.b64decode(envelope["payload"]), type=dict[str, Any])
    return str(statement["predicate"]["closed_at"])


def tell(store: Store, bundle: Bundle, now: float) -> None:
    """Write the row of a bundle, and say in the log and on the timeline what it is."""
    bundles.done(store, bundle, [event_of(bundle, f"evidence_{bundle.state}")], now=now)
    safe = EvidenceSafe(
        bundle=bundle.id,
        digest=bundle.digest,
        summary=f"Evidence {bundle.state}: {bundle.id}, {bundle.files} files, manifest {bundle.digest}.",
    )
    occasion = Occasion(actor=_person(bundle.asked.who), now=now)
    try:
        incidents.change(
            store, bundle.incident, lambda incident: keeping.evidence_safe(incident, safe, occasion)
        )
    except Unfit:
        return  # nobody opened this incident here: the bundle says so itself


def had(
    store: Store,
    data_dir: Path,
    bundle: Bundle,
    event: CustodyEvent,
    *,
    who: str,
    role: str,
    reason: str,
    to: str,
    now: float,
) -> Bundle:
    """Write into the custody log of a bundle, the audit log and the timeline that somebody had it.

    Raises `Unfit` `bundle_gone` where its folder is not there, `AuditFault` where that cannot be written.
    """
    bag = data_dir / FOLDER / bundle.id
    if not (bag / verify_bundle.TAGS).exists():
        raise Unfit("bundle_gone", f"{bundle.id} is not in its place any more.")
    try:
        custody.note(bag, Signer.of(data_dir), event=event, who=who, role=role, reason=reason, to=to, now=now)
    except (OSError, ConfigError) as error:
        raise AuditFault(f"the custody log of {bundle.id} cannot be written: {error}") from error
    with store.change(OUTBOX) as change:
        outbox.leave(change.connection, event_of(bundle, f"evidence_{event}", who=who), at=now)
        change.announce()
    moved = event in {"transferred", "released"}
    told = IncidentEvent(
        kind="evidence_transferred" if moved else "evidence_accessed",
        at=now,
        occurred_at=now,
        actor=_person(who),
        summary=f"{bundle.id} was {event}" + (f" to {to}" if to else "") + (f": {reason}" if reason else ""),
        refs=(bundle.id,),
    )
    try:
        incidents.append(store, bundle.incident, [told])
    except Unfit:
        return bundle  # as above
    return bundle


def _person(who: str) -> Actor:
    return Actor(type="human" if who else "system", id=who or "airlock")
