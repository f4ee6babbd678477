"""Gathers the record of an incident: from the store, from the audit log, and from the gateway itself.

Nothing here needs a gateway that runs: where it does not answer, the record says that the service is down.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import msgspec

from airlock.api.incident_documents import DocumentsApi
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.incident import exposure, questions, regulation, soundness
from airlock.incident.exposure import Exposure, Trace
from airlock.incident.questions import COMPLIANCE, INTEGRITY, NAMES, Answered
from airlock.incident.render.facts import began
from airlock.incident.render.record import Places, Record
from airlock.model.health import Service
from airlock.model.incident import Incident
from airlock.model.lease import Lease
from airlock.store import alerts, incidents, leases
from airlock.store.database import Store

MARGIN = 3600.0
"""Seconds before the known start that a window has: what led to an incident comes before its detection."""

MOST_TRACES = 200_000
"""Rows from which exposure is worked out; of more, the first."""

MOST_ASKED = 20_000
"""The same for a worker, which serves calls beside it."""

FOLDER = "incidents"
"""Where files of incidents are, below the data directory."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where facts come from."""

    store: Store
    data: Path
    """Directory of the audit log."""
    places: Places = Places()
    law: Mapping[str, regulation.Regulation]

    @property
    def audit(self) -> Path:
        return self.data / "audit.db"

    @property
    def folder(self) -> Path:
        """One directory for each incident, and the pages."""
        return self.data / FOLDER

    @property
    def journals(self) -> Path:
        return self.data / "journal"


def sources(config: Config, store: Store) -> Sources:
    """The sources that a configuration names."""
    section = config.incident
    return Sources(
        store=store,
        data=Path(config.data_dir),
        places=Places(support=section.support_contact, status_page=section.status_page_url),
        law=regulation.known(section.regulations_file),
    )


def gather(
    where: Sources,
    id: str,
    *,
    service: Service,
    clock: Clock,
    known: Mapping[str, Answered] = MappingProxyType({}),
    verify: bool = True,
) -> Record:
    """The record of an incident as it is now. Raises `Unfit` `incident_unknown`.

    The log is verified once the incident is resolved: that is when its review asks for it. `known`: answers
    that are taken as they are. Without `verify` it is not: a notice does not say it.
    """
    incident = incidents.get(where.store, id)
    if incident is None:
        raise incidents.unknown(id)
    now = clock.wall()
    since, until = window(incident, now)
    ask = partial(questions.ask, where.audit, since=since, until=until, clock=clock)
    answers = {**known, **{name: ask(name) for name in NAMES if name not in known}}
    if verify and incident.resolved_at is not None and INTEGRITY not in known:
        answers[INTEGRITY] = soundness.integrity(
            where.audit, journals=where.journals, since=since, until=until
        )
    return Record(
        incident=incident,
        timeline=tuple(incidents.timeline(where.store, id)),
        leases=tuple(leases_of(where.store, id, now)),
        alerts=tuple(alerts.listing(where.store, incident=id)),
        answers=answers,
        law=where.law,
        service=service,
        places=where.places,
        at=now,
    )


def window(incident: Incident, now: float) -> tuple[float, float]:
    """The time that figures are about: from an hour before its start to its end, or to now."""
    ended = incident.resolved_at or incident.closed_at or now
    return began(incident) - MARGIN, max(ended, began(incident)) + 1.0


def exposed(where: Sources, id: str, *, clock: Clock, most: int = MOST_TRACES) -> tuple[Exposure, Answered]:
    """What was reached, and the stored answer that it was worked out from, without its rows.

    Raises `Unfit` `incident_unknown`.
    """
    incident = incidents.get(where.store, id)
    if incident is None:
        raise incidents.unknown(id)
    now = clock.wall()
    since, until = window(incident, now)
    found = questions.ask(where.audit, "exposure", since=since, until=until, clock=clock, most=most)
    holes = soundness.missing(where.audit, journals=where.journals, since=since, until=until)
    unknown = [found.problem] if found.problem else []
    unknown += [f"{row[0]}: {row[5]}" for row in holes.rows]
    traces = [msgspec.convert(dict(zip(found.columns, row, strict=True)), Trace) for row in found.rows]
    start = exposure.starting_points(
        alerts.listing(where.store, incident=id), leases_of(where.store, id, now)
    )
    if not start:
        unknown.append("no alert and no lease of the incident names anybody: there is nowhere to start")
    whole = exposure.expose(traces, start, unknown=unknown)
    return whole, msgspec.structs.replace(found, rows=())


def affected(where: Sources, id: str, *, clock: Clock) -> tuple[Answered, ...]:
    """Whom an incident affects, by the log. Raises `Unfit` `incident_unknown`."""
    incident = incidents.get(where.store, id)
    if incident is None:
        raise incidents.unknown(id)
    since, until = window(incident, clock.wall())
    return tuple(questions.ask(where.audit, name, since=since, until=until, clock=clock) for name in NAMES)


def compliance(where: Sources, *, since: float, until: float, clock: Clock) -> tuple[Answered, ...]:
    """What an auditor asks: events by hour, gaps, refusals, minutes without policy, unapproved tools."""
    ask = partial(questions.ask, where.audit, since=since, until=until, clock=clock)
    answers = [ask(name) for name in COMPLIANCE]
    gaps = soundness.missing(where.audit, journals=where.journals, since=since, until=until)
    return (*answers, gaps)


def documents(config: Config, store: Store, clock: Clock) -> DocumentsApi:
    """What the management API says of documents and figures. It looks at fewer rows than a command does,
    because the process that answers serves calls."""
    where = sources(config, store)

    def reached(id: str) -> tuple[Exposure, Answered, tuple[Answered, ...]]:
        found, source = exposed(where, id, clock=clock, most=MOST_ASKED)
        return found, source, affected(where, id, clock=clock)

    return DocumentsApi(store=store, folder=where.folder, reached=reached)


def leases_of(store: Store, id: str, now: float) -> list[Lease]:
    """Every lease that names an incident, as it stands at this time; those that ended too."""
    return [each for each in leases.listing(store, now=now, include_ended=True) if each.incident == id]
