"""Drills that were asked for, and the newest results of each rule and playbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import delete, insert, select, update

from airlock.core import ids
from airlock.model.drill import Drill, Kind, State
from airlock.model.entry import Event, Personal
from airlock.store import outbox
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from airlock.store.schema import drills

KEPT = 20
"""Results of one rule or playbook that are kept."""

_REASONS: Mapping[State, str] = {
    "requested": "drill_pending",
    "passed": "drill_passed",
    "failed": "drill_failed",
    "pending": "drill_pending",
}

_drill = msgspec.json.Decoder(Drill).decode


def request(store: Store, subjects: Mapping[str, Kind], *, by: str, now: float) -> list[Drill]:
    """Ask for drills; of what waits already, it is that one."""
    with store.change(INCIDENTS) as change:
        documents = change.connection.execute(select(drills.c.document)).scalars()
        waiting = {each.subject: each for each in map(_drill, documents) if not each.over}
        asked: list[Drill] = []
        for subject, kind in subjects.items():
            drill = waiting.get(subject)
            if drill is None:
                drill = Drill(id=ids.uuid7(), subject=subject, kind=kind, by=by, asked_at=now)
                row = {"id": drill.id, "subject": subject, "ran_at": now, "document": _text(drill)}
                change.connection.execute(insert(drills).values(**row))
            asked.append(drill)
        change.announce()
    return asked


def done(store: Store, drill: Drill, *, now: float) -> None:
    """Note what came of a drill, with the row for the audit log; the oldest results of its subject go."""
    with store.change(INCIDENTS) as change:
        this = drills.c.id == drill.id
        change.connection.execute(update(drills).where(this).values(ran_at=now, document=_text(drill)))
        of = drills.c.subject == drill.subject
        newest = select(drills.c.id).where(of).order_by(drills.c.ran_at.desc(), drills.c.id.desc())
        gone = change.connection.execute(newest.offset(KEPT).limit(1000)).scalars().all()
        change.connection.execute(delete(drills).where(drills.c.id.in_(gone)))
        outbox.leave(change.connection, row_of(drill), at=now)
        change.announce()


def wanted(store: Store) -> list[Drill]:
    """The drills that nobody ran yet, oldest first."""
    return [each for each in _all(store) if not each.over]


def results(store: Store) -> dict[str, list[Drill]]:
    """What came of drills, by rule or playbook, the newest first."""
    found: dict[str, list[Drill]] = {}
    for each in reversed(_all(store)):
        if each.over:
            found.setdefault(each.subject, []).append(each)
    return found


def proven(store: Store) -> dict[str, float]:
    """When each rule or playbook last passed its drill."""
    return proved(results(store))


def proved(results: Mapping[str, Sequence[Drill]]) -> dict[str, float]:
    """The same of results that are known."""
    return {
        subject: drill.ended_at
        for subject, several in results.items()
        for drill in [next((each for each in several if each.state == "passed"), None)]
        if drill is not None and drill.ended_at is not None
    }


def row_of(drill: Drill) -> Event:
    """The row of a drill that is over. Who asked for it can be erased."""
    return Event(
        event_type="incident",
        action="incident_event",
        correlation_id=drill.id,
        reason=_REASONS[drill.state],
        severity="MEDIUM" if drill.state == "failed" else "LOW",
        metadata={
            "drill": drill.id,
            "subject": drill.subject,
            "kind": drill.kind,
            "detect_ms": _milliseconds(drill.detect),
            "contain_ms": _milliseconds(drill.contain),
            "evidence_ms": _milliseconds(drill.evidence),
            "problem": drill.problem,
        },
        personal=Personal(subject=drill.by),
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _all(store: Store) -> list[Drill]:
    with store.read() as connection:
        query = select(drills.c.document).order_by(drills.c.ran_at, drills.c.id)
        return [_drill(document) for document in connection.execute(query).scalars()]


def _text(drill: Drill) -> str:
    return msgspec.json.encode(drill).decode()
