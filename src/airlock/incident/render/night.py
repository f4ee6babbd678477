"""One page for the night: what is true now, what to do next, who has been told. For a terminal and as HTML.

It needs the records alone. The page that is written to disk says when it was written, and names moments, not
spans: it stays true while it ages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident.clocks import Clock, clocks
from airlock.incident.lifecycle import UNRESOLVED, public_status
from airlock.incident.render.environment import fill
from airlock.incident.render.facts import began
from airlock.incident.render.lists import containment, decisions, next_steps
from airlock.incident.render.record import Record
from airlock.incident.render.timeline import cited, newest
from airlock.incident.render.words import Safe, moment, plain
from airlock.incident.severity import MATRIX
from airlock.model.health import Service
from airlock.model.incident import Kind

TELLING: tuple[Kind, ...] = ("comm_sent", "comm_drafted", "escalated", "acknowledged")
"""Kinds of events in which somebody was told something, or should be."""

NEWEST = 5
"""Events of a kind that the page shows."""


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """The three answers about one incident, as lines of harmless text."""

    id: str
    headline: Safe
    true_now: tuple[Safe, ...]
    do_next: tuple[Safe, ...]
    told: tuple[Safe, ...]
    overdue: tuple[Safe, ...]
    """What should have happened by now."""


def night(record: Record) -> Night:
    """The answers about one incident."""
    incident = record.incident
    running = clocks(incident, record.at)
    word = MATRIX[incident.severity].word
    state = f"{incident.severity} ({word}) {public_status(incident.status)}"
    title = Safe(f"{state} {incident.id}: {plain(incident.title)}")
    return Night(
        id=incident.id,
        headline=title,
        true_now=tuple(_true(record)),
        do_next=(*decisions(record), *next_steps(record)),
        told=tuple(_told(record)),
        overdue=tuple(_overdue(each) for each in running if each.state == "breached"),
    )


def _true(record: Record) -> Iterable[Safe]:
    incident = record.incident
    commander = plain(incident.person("incident_commander")) or "nobody"
    yield Safe(f"since {moment(began(incident))}, commander {commander}")
    cause = incident.root_cause or incident.hypothesis
    yield Safe(f"cause: {plain(cause) or 'not yet known'}")
    held = [each for each in record.leases if each.holds(record.at)]
    yield Safe(f"contained by {len(held)} leases" if held else "nothing is contained")
    yield from containment(msgspec.structs.replace(record, leases=tuple(held), timeline=()))
    for each in newest(record.timeline, ("note", "decision", "status_changed"), most=NEWEST):
        yield Safe(f"{rfc3339(each.event.occurred_at)} {cited(each)}")


def _told(record: Record) -> Iterable[Safe]:
    for each in newest(record.timeline, TELLING, most=NEWEST):
        yield Safe(f"{rfc3339(each.event.occurred_at)} {each.event.kind}: {cited(each)}")


def _overdue(clock: Clock) -> Safe:
    return Safe(f"{plain(clock.name)} was due at {moment(clock.due_at)}")


def lines(pages: Sequence[Night], service: Service, now: float) -> list[str]:
    """The page for a terminal."""
    found = [f"{rfc3339(now)}  gateway: {_state(service)}"]
    if not pages:
        found.append("No incident is open.")
    for page in pages:
        found += ["", page.headline]
        found += [f"  OVERDUE  {each}" for each in page.overdue]
        found += [f"  true     {each}" for each in page.true_now]
        found += [f"  next     {each}" for each in page.do_next] or ["  next     nothing is due"]
        found += [f"  told     {each}" for each in page.told] or ["  told     nobody"]
    return found


def html(pages: Sequence[Night], service: Service, now: float) -> str:
    """The page as one HTML file that loads nothing."""
    facts = {"pages": tuple(pages), "service": _state(service), "now": Safe(rfc3339(now))}
    return fill("night.html", facts)


def as_json(page: Night) -> dict[str, object]:
    """The page as plain values."""
    told = {
        name: [str(each) for each in getattr(page, name)]
        for name in ("true_now", "do_next", "told", "overdue")
    }
    return {"id": page.id, "headline": str(page.headline), **told}


def open_ones(records: Iterable[Record]) -> list[Record]:
    """Those that are not resolved, the gravest first."""
    found = [each for each in records if each.incident.status in UNRESOLVED]
    return sorted(found, key=lambda each: (each.incident.severity, each.incident.opened_at))


def _state(service: Service) -> Safe:
    reasons = f" ({'; '.join(plain(each) for each in service.reasons)})" if service.reasons else ""
    return Safe(f"{service.state or 'not yet known'}{reasons}")
