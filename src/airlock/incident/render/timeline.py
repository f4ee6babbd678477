"""The timeline as documents show it: one line for each event, in the order in which things happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from airlock.incident.render.words import Safe, plain
from airlock.model.incident import Kind, Recorded

_DAY = 86400.0

CONTAINMENT: frozenset[Kind] = frozenset(
    (
        "containment_proposed",
        "containment_approved",
        "containment_started",
        "containment_succeeded",
        "containment_failed",
        "containment_extended",
        "containment_released",
        "containment_expired",
    )
)

ACTIONS: frozenset[Kind] = CONTAINMENT.union(
    ("decision", "escalated", "evidence_collected", "playbook_step", "verification_run")
)
"""Kinds of events in which somebody did something about the incident."""


def ordered(timeline: Iterable[Recorded]) -> list[Recorded]:
    """Events by when they happened; what happened at once in the order of the record."""
    return sorted(timeline, key=lambda each: (each.event.occurred_at, each.seq))


def lines(timeline: Sequence[Recorded]) -> list[Safe]:
    """`21:07 UTC [declared] summary (event 12)`, with `+1d` after UTC on the day after the first."""
    events = ordered(timeline)
    if not events:
        return []
    first = events[0].event.occurred_at // _DAY
    corrected = {each.event.supersedes: each.seq for each in events if each.event.supersedes}
    return [line(each, first_day=first, superseded_by=corrected.get(each.seq)) for each in events]


def line(recorded: Recorded, *, first_day: float, superseded_by: int | None = None) -> Safe:
    """One line. `first_day` counts days since 1970."""
    event = recorded.event
    days = int(event.occurred_at // _DAY - first_day)
    later = f" +{days}d" if days else ""
    corrected = f", superseded by event {superseded_by}" if superseded_by else ""
    return Safe(
        f"{clock(event.occurred_at)} UTC{later} [{event.kind}] {plain(event.summary)} "
        f"(event {recorded.seq}{corrected})"
    )


def cited(recorded: Recorded) -> Safe:
    """An event as a fact with its place: `summary (event 12)`."""
    return Safe(f"{plain(recorded.event.summary)} (event {recorded.seq})")


def newest(timeline: Sequence[Recorded], kinds: Iterable[Kind], *, most: int) -> list[Recorded]:
    """The last events of these kinds, the oldest of them first, without those that were superseded."""
    wanted = frozenset(kinds)
    gone = {each.event.supersedes for each in timeline}
    found = [each for each in ordered(timeline) if each.event.kind in wanted and each.seq not in gone]
    return found[-most:]


def clock(at: float) -> str:
    """`HH:MM` of Unix seconds, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")
