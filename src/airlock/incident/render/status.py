"""The public status page, as JSON and as HTML: what customers may know, and nothing else.

Titles, causes and names stay inside. What customers read of an incident are its public status, what it
affects, its times, and the events that somebody marked as meant for customers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident.clocks import clocks
from airlock.incident.lifecycle import PublicStatus, public_status
from airlock.incident.render.environment import fill
from airlock.incident.render.facts import began
from airlock.incident.render.record import Record
from airlock.incident.render.timeline import ordered
from airlock.incident.render.words import plain

SHOWN_FOR = 7 * 86400.0
"""Seconds for which a resolved incident stays on the page."""

Indicator = Literal["none", "minor", "major", "critical"]
_INDICATORS: dict[str, Indicator] = {"P0": "critical", "P1": "major", "P2": "minor", "P3": "minor"}
_WORDS: dict[Indicator, str] = {
    "none": "No incident is open",
    "minor": "Some services work with limits",
    "major": "Services are disturbed",
    "critical": "Services are gravely disturbed",
}


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """One text for customers. `at` is RFC 3339."""

    at: str
    text: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One incident as customers see it. Times are RFC 3339; empty: there is none."""

    id: str
    status: PublicStatus
    started_at: str
    resolved_at: str = ""
    next_update_at: str = ""
    services: tuple[str, ...] = ()
    updates: tuple[Update, ...] = ()
    """The newest first."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The page."""

    indicator: Indicator
    description: str
    written_at: str
    incidents: tuple[Entry, ...]


def page(records: Iterable[Record], now: float) -> Page:
    """The page of these records: those that are open, and those that were resolved lately. Cancelled and
    merged ones have no place on it."""
    shown = sorted(
        (each for each in records if _public(each, now)), key=lambda each: -each.incident.opened_at
    )
    open_ones = [each.incident for each in shown if public_status(each.incident.status) != "RESOLVED"]
    gravest = min((each.severity for each in open_ones), default=None)
    indicator = "none" if gravest is None else _INDICATORS[gravest]
    return Page(
        indicator=indicator,
        description=_WORDS[indicator],
        written_at=rfc3339(now),
        incidents=tuple(_entry(each) for each in shown),
    )


def html(found: Page) -> str:
    """The page as one HTML file that loads nothing."""
    return fill("status.html", {"page": found})


def as_json(found: Page) -> bytes:
    """The page for programs."""
    return msgspec.json.format(msgspec.json.encode(found)) + b"\n"


def _public(record: Record, now: float) -> bool:
    incident = record.incident
    if incident.status in ("CANCELLED", "MERGED"):
        return False
    return incident.resolved_at is None or now - incident.resolved_at < SHOWN_FOR


def _entry(record: Record) -> Entry:
    incident = record.incident
    due = next((each.due_at for each in clocks(incident, record.at) if each.kind == "update"), None)
    texts: Sequence[Update] = [
        Update(at=rfc3339(each.event.occurred_at), text=plain(each.event.summary))
        for each in ordered(record.timeline)
        if each.event.visibility == "customer"
    ]
    resolved = incident.resolved_at
    return Entry(
        id=incident.id,
        status=public_status(incident.status),
        started_at=rfc3339(began(incident)),
        resolved_at="" if resolved is None else rfc3339(resolved),
        next_update_at="" if due is None or resolved is not None else rfc3339(due),
        services=tuple(plain(each) for each in incident.affected_services),
        updates=tuple(reversed(texts)),
    )
