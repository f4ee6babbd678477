"""`/api/v1/incidents`: records of incidents, opened, listed, looked at and completed, and their timelines."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec

from airlock.api.deciding import Deciding, One, built, dated, fit, found, human, order, shown
from airlock.api.entries import Entry, query, versioned
from airlock.core.clock import rfc3339
from airlock.incident import keeping, lifecycle
from airlock.incident.containment import State
from airlock.incident.durations import Duration, durations
from airlock.incident.notice import look
from airlock.incident.occasion import Occasion
from airlock.incident.opening import open_incident
from airlock.incident.orders import Edit, Open, Write
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import Incident, Kind, Recorded
from airlock.model.lease import Unfit
from airlock.model.principal import Principal
from airlock.store import incidents
from airlock.store.incidents import Changed

MOST = 1000
"""Records of one answer."""

TRIES = 100
"""Incidents that may begin in one second before nobody can name another one."""


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`all`: those that are closed, cancelled or merged too."""

    state: Literal["open", "all"] = "open"
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 100


class After(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events behind this sequence number."""

    after: Annotated[int, msgspec.Meta(ge=0)] = 0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An incident in a list."""

    id: str
    title: str
    type: str
    severity: str
    status: str
    public_status: str
    commander: str
    opened_at: str
    version: int


class Listed(msgspec.Struct, frozen=True):
    """Incidents, the newest first."""

    incidents: list[Row]


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as it is now. What is computed is not part of the record."""

    incident: dict[str, Any]
    containment: State
    durations: list[Duration]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a timeline. `audit_seq` null: it is not in the audit log yet."""

    seq: int
    kind: Kind
    at: str
    occurred_at: str
    actor: dict[str, str]
    summary: str
    details: dict[str, Any]
    refs: list[str]
    basis: str
    visibility: str
    supersedes: int | None
    csf: str
    digest: str
    chain_uid: str
    audit_seq: int | None


class Events(msgspec.Struct, frozen=True):
    """A timeline, in its order."""

    events: list[Event]


class IncidentsApi:
    """The records. Whoever may read one reads all of it."""

    def __init__(self, deciding: Deciding) -> None:
        self.deciding = deciding
        self._store = deciding.store
        self._clock = deciding.clock

    async def open(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Begin a record: 201; 200 with the record where the id that was typed has one already."""
        asked = order(request, Open)
        changed = await asyncio.to_thread(lambda: fit(lambda: self._opened(asked, who)))
        return self.deciding.answer(201 if changed.events else 200, changed.incident)

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Records, the newest first."""
        asked = query(request, Filter)
        rows = await asyncio.to_thread(
            lambda: incidents.listing(self._store, include_ended=asked.state == "all", limit=asked.limit)
        )
        return json_response(200, Listed(incidents=[_row(record) for record in rows]))

    async def show(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """One record, whether it is contained, and how long everything took."""
        record = await self.deciding.find(request.params["id"])
        told = await asyncio.to_thread(self._whole, record)
        return versioned(200, told, record.version)

    async def timeline(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """What happened, in its order."""
        return await self._events(request, ())

    async def notes(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """What people wrote: notes, hypotheses and decisions."""
        return await self._events(request, ("note", "hypothesis", "decision"))

    async def note(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Write one of these."""
        asked = order(request, Write)
        changed = await self.deciding.apply(
            request, who, lambda incident, when: keeping.write(incident, asked, when)
        )
        told = {"incident": shown(changed.incident), "events": [_event(each) for each in changed.events]}
        return json_response(201, told)

    def _whole(self, record: Incident) -> Whole:
        """In a thread."""
        return Whole(
            incident=shown(record),
            containment=look(self._store, record.id, self._clock.wall()).state,
            durations=list(durations(record, incidents.timeline(self._store, record.id))),
        )

    def _opened(self, asked: Open, who: Principal) -> Changed:
        """In a thread. An id of the operator's own is adopted; one that is made is made again while taken."""
        now = self._clock.wall()
        when = Occasion(actor=human(who), now=now)
        for nth in range(1, TRIES):
            decided = open_incident(asked, when, nth=nth)
            try:
                return incidents.create(self._store, decided.incident, decided.events)
            except Unfit as taken:
                if taken.reason != "incident_exists":
                    raise
                if asked.id:
                    return Changed(incident=found(self._store, asked.id), events=())
        raise Unfit("incident_exists", "Too many incidents began in this second: ask again.")

    async def _events(self, request: HttpRequest, kinds: tuple[Kind, ...]) -> HttpResponse:
        id, asked = request.params["id"], query(request, After)
        await self.deciding.find(id)
        rows = await asyncio.to_thread(lambda: incidents.timeline(self._store, id, after=asked.after))
        events = [_event(row) for row in rows if not kinds or row.event.kind in kinds]
        return json_response(200, Events(events=events))


def entries(api: IncidentsApi) -> tuple[Entry, ...]:
    """The addresses of the records."""
    return (
        Entry(
            method="POST",
            path="/api/v1/incidents",
            permission="incidents.write",
            summary="Open an incident.",
            handler=api.open,
            takes=Open,
            gives=One,
            statuses=(200, 201),
        ),
        Entry(
            method="GET",
            path="/api/v1/incidents",
            permission="incidents.read",
            summary="List incidents.",
            handler=api.list,
            asks=Filter,
            gives=Listed,
        ),
        Entry(
            method="GET",
            path="/api/v1/incidents/{id}",
            permission="incidents.read",
            summary="Show an incident.",
            handler=api.show,
            gives=Whole,
            versioned=True,
        ),
        Entry(
            method="PATCH",
            path="/api/v1/incidents/{id}",
            permission="incidents.write",
            summary="Complete facts of an incident.",
            handler=api.deciding.handler(Edit, keeping.edit),
            takes=Edit,
            gives=One,
            versioned=True,
        ),
        Entry(
            method="GET",
            path="/api/v1/incidents/{id}/timeline",
            permission="incidents.read",
            summary="Show the timeline.",
            handler=api.timeline,
            asks=After,
            gives=Events,
        ),
        Entry(
            method="GET",
            path="/api/v1/incidents/{id}/notes",
            permission="incidents.read",
            summary="Show what people wrote.",
            handler=api.notes,
            asks=After,
            gives=Events,
        ),
        Entry(
            method="POST",
            path="/api/v1/incidents/{id}/notes",
            permission="incidents.write",
            summary="Write a note, a hypothesis or a decision.",
            handler=api.note,
            takes=Write,
            statuses=(201,),
            versioned=True,
        ),
    )


def _row(record: Incident) -> Row:
    return Row(
        id=record.id,
        title=record.title,
        type=record.type,
        severity=record.severity,
        status=record.status,
        public_status=lifecycle.public_status(record.status),
        commander=record.person("incident_commander"),
        opened_at=rfc3339(record.opened_at),
        version=record.version,
    )


def _event(row: Recorded) -> Event:
    event = row.event
    return Event(
        seq=row.seq,
        kind=event.kind,
        at=rfc3339(event.at),
        occurred_at=rfc3339(event.occurred_at),
        actor={"type": event.actor.type, "id": event.actor.id},
        summary=event.summary,
        details=dated(built(event.details)),
        refs=list(event.refs),
        basis=event.basis,
        visibility=event.visibility,
        supersedes=event.supersedes,
        csf=event.csf,
        digest=row.digest,
        chain_uid=row.chain_uid,
        audit_seq=row.audit_seq,
    )
