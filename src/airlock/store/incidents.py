"""Records of incidents and their timelines.

A record changes only together with the events that say so, in one transaction; each event leaves a row for
the audit log there. The text of an event stays here and is committed in its row, so that a timeline can be
checked against the log and a text that was edited shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, func, insert, select, update

from airlock.core.clock import timestamp
from airlock.mcp import strict
from airlock.model.entry import Event, Personal
from airlock.model.entry import Severity as RowSeverity
from airlock.model.incident import Decided, Incident, IncidentEvent, IncidentSeverity, Kind, Recorded
from airlock.model.lease import Unfit
from airlock.store import outbox
from airlock.store.changes import INCIDENTS, Change
from airlock.store.database import Store
from airlock.store.schema import incident_events, incidents

ENDED = ("CLOSED", "CANCELLED", "MERGED")
"""Statuses in which nothing happens any more."""

_ROW_SEVERITY: dict[IncidentSeverity, RowSeverity] = {
    "P0": "CRITICAL",
    "P1": "HIGH",
    "P2": "MEDIUM",
    "P3": "LOW",
}

_incident = msgspec.json.Decoder(Incident).decode
_event = msgspec.json.Decoder(IncidentEvent).decode


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is now, and the events that were written."""

    incident: Incident
    events: tuple[Recorded, ...]


def create(where: Store | Change, incident: Incident, events: Sequence[IncidentEvent]) -> Changed:
    """A new record. Raises `Unfit` `incident_exists`."""
    if isinstance(where, Store):
        with where.change(INCIDENTS) as own:
            return create(own, incident, events)
    if _found(where, incident.id) is not None:
        raise Unfit("incident_exists", f"There is an incident {incident.id} already.")
    where.connection.execute(insert(incidents).values(**_row(incident)))
    return Changed(incident=incident, events=written(where, incident, events))


def change(
    where: Store | Change, id: str, decide: Callable[[Incident], Decided], *, expected: int | None = None
) -> Changed:
    """Apply a decision to a record. `expected`: the version that the decision is about; None: whichever.

    Raises `Unfit`: `incident_unknown`, `version_conflict`; and what `decide` raises, which changes nothing.
    """
    if isinstance(where, Store):
        with where.change(INCIDENTS) as own:
            return change(own, id, decide, expected=expected)
    before = _found(where, id)
    if before is None:
        raise unknown(id)
    if expected is not None and before.version != expected:
        raise Unfit("version_conflict", f"The record is at version {before.version}: read it again.")
    decided = decide(before)
    after = decided.incident
    if after != before:
        after = msgspec.structs.replace(after, version=before.version + 1)
        this = incidents.c.id == id
        where.connection.execute(update(incidents).where(this).values(**_row(after)))
    return Changed(incident=after, events=written(where, after, decided.events))


def append(where: Store | Change, id: str, events: Sequence[IncidentEvent]) -> tuple[Recorded, ...]:
    """Write events on the timeline of a record that stays as it is. Raises `Unfit` `incident_unknown`."""
    return change(where, id, lambda incident: Decided(incident=incident, events=tuple(events))).events


def get(store: Store, id: str) -> Incident | None:
    """One record; None where there is none of this id."""
    with store.read() as connection:
        document = connection.execute(select(incidents.c.document).where(incidents.c.id == id)).scalar()
    return None if document is None else _incident(document)


def listing(store: Store, *, include_ended: bool = False, limit: int = 1000) -> list[Incident]:
    """Records, the newest first; without those that are closed, cancelled or merged unless asked for."""
    query = select(incidents.c.document).order_by(incidents.c.opened_at.desc(), incidents.c.id.desc())
    if not include_ended:
        query = query.where(incidents.c.status.not_in(ENDED))
    with store.read() as connection:
        return [_incident(document) for document in connection.execute(query.limit(limit)).scalars()]


def timeline(store: Store, id: str, *, after: int = 0) -> list[Recorded]:
    """The events of an incident in their order, those behind the sequence number `after`."""
    this = (incident_events.c.incident == id) & (incident_events.c.seq > after)
    query: Select[Any] = select(incident_events).where(this).order_by(incident_events.c.seq)
    with store.read() as connection:
        rows = connection.execute(query).all()
        where = outbox.places(connection, [row.outbox for row in rows])
    return [_recorded(row, where.get(row.outbox)) for row in rows]


def since(store: Store, number: int, *, limit: int = 256) -> list[tuple[int, Recorded]]:
    """Events of all incidents in the order of their writing, those behind this number; each with its own."""
    query: Select[Any] = select(incident_events).where(incident_events.c.outbox > number)
    with store.read() as connection:
        rows = connection.execute(query.order_by(incident_events.c.outbox).limit(limit)).all()
    return [(row.outbox, _recorded(row, None)) for row in rows]


def lengths(store: Store) -> dict[str, int]:
    """How many events each incident has, by its id."""
    query = select(incident_events.c.incident, func.max(incident_events.c.seq)).group_by(
        incident_events.c.incident
    )
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def written(change: Change, incident: Incident, events: Sequence[IncidentEvent]) -> tuple[Recorded, ...]:
    """Write events in a transaction. One whose `once` key is taken is left out."""
    connection = change.connection
    newest = select(func.max(incident_events.c.seq)).where(incident_events.c.incident == incident.id)
    seq: int = connection.execute(newest).scalar() or 0
    done: list[Recorded] = []
    for event in events:
        if event.once and _taken(change, incident.id, event.once):
            continue
        seq += 1
        body = strict.canonical(msgspec.to_builtins(event))
        digest = hashlib.sha256(body).hexdigest()
        number = outbox.leave(connection, row_of(incident, seq, event, body, digest), at=event.at)
        connection.execute(
            insert(incident_events).values(
                incident=incident.id,
                seq=seq,
                kind=event.kind,
                at=event.at,
                once=event.once or None,
                digest=digest,
                document=msgspec.json.encode(event).decode(),
                outbox=number,
            )
        )
        done.append(Recorded(incident=incident.id, seq=seq, event=event, digest=digest))
    change.announce()
    return tuple(done)


def row_of(incident: Incident, seq: int, event: IncidentEvent, body: bytes, digest: str) -> Event:
    """The row of an event. What people wrote is committed in it, and stands in no column."""
    return Event(
        event_type="incident",
        action="incident_event",
        correlation_id=incident.id,
        tenant=incident.tenants[0] if len(incident.tenants) == 1 else "",
        reason=event.kind,
        severity=_ROW_SEVERITY[incident.severity] if event.kind in _GRAVE else "LOW",
        occurred_at=timestamp(event.occurred_at),
        metadata={
            "incident": incident.id,
            "kind": event.kind,
            "event": seq,
            "digest": digest,
            "severity": incident.severity,
            "status": incident.status,
            "actor_type": event.actor.type,
        },
        personal=Personal(subject=event.actor.id, arguments=body, arguments_digest=digest),
    )


_GRAVE: frozenset[Kind] = frozenset(
    (
        "declared",
        "severity_changed",
        "containment_started",
        "containment_failed",
        "clock_breached",
        "escalated",
    )
)
"""Kinds whose rows are as severe as their incident."""


def unknown(id: str) -> Unfit:
    """There is no such incident."""
    return Unfit("incident_unknown", f"There is no incident {id[:64]!r}: `airlock incident list --all`.")


def _taken(change: Change, id: str, once: str) -> bool:
    this = (incident_events.c.incident == id) & (incident_events.c.once == once)
    return change.connection.execute(select(incident_events.c.seq).where(this)).first() is not None


def _found(change: Change, id: str) -> Incident | None:
    query = select(incidents.c.document).where(incidents.c.id == id)
    document = change.connection.execute(query).scalar()
    return None if document is None else _incident(document)


def _row(incident: Incident) -> dict[str, object]:
    return {
        "id": incident.id,
        "status": incident.status,
        "severity": incident.severity,
        "opened_at": incident.opened_at,
        "version": incident.version,
        "document": msgspec.json.encode(incident).decode(),
    }


def _recorded(row: Row[Any], where: outbox.Place | None) -> Recorded:
    chain, seq = where if where is not None else ("", None)
    return Recorded(
        incident=row.incident,
        seq=row.seq,
        event=_event(row.document),
        digest=row.digest,
        chain_uid=chain,
        audit_seq=seq,
    )
