"""What happened to leases reaches the audit log once, and its place there is known afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from airlock.core.errors import AuditFault
from airlock.model.lease import Selector
from airlock.store import lease_events, leases
from airlock.store.database import Store
from airlock.store.lease_events import LeaseEvent, Place
from airlock.store.leases import Activated

NOW = 1_800_000_000.0


def suspend(store: Store, subject: str) -> Activated:
    return leases.activate(
        store,
        action="subject.suspend",
        selector=Selector(subject=subject),
        ttl=60,
        reason="test",
        actor="ops",
        origin="api",
        now=NOW,
    )


class Rows:
    """An audit log that numbers what it is given."""

    def __init__(self) -> None:
        self.events: list[LeaseEvent] = []

    def __call__(self, events: Sequence[LeaseEvent]) -> Sequence[Place]:
        self.events.extend(events)
        return [("chain", 100 + self.events.index(event)) for event in events]


def test_each_event_is_recorded_once_in_order(store: Store, other: Store) -> None:
    given = suspend(store, "alice")
    assert leases.recorded(store, id=given.lease.id, epoch=given.epoch) is None
    ended = leases.release(store, id=given.lease.id, actor="lead", reason="over", now=NOW + 1)
    rows = Rows()
    assert lease_events.record(other, rows) == 2
    assert lease_events.record(store, rows) == 0
    assert [event.event for event in rows.events] == ["lease_applied", "lease_released"]
    assert [(event.actor, event.at) for event in rows.events] == [("ops", NOW), ("lead", NOW + 1)]
    assert leases.recorded(store, id=given.lease.id, epoch=given.epoch) == 100
    assert leases.recorded(store, id=given.lease.id, epoch=ended.epoch) == 101


def test_extension_and_expiry_are_events_too(store: Store) -> None:
    given = suspend(store, "alice")
    leases.extend(store, id=given.lease.id, ttl=120, actor="ops", reason="on", now=NOW)
    leases.expire(store, now=NOW + 200)
    rows = Rows()
    lease_events.record(store, rows)
    assert [event.event for event in rows.events] == ["lease_applied", "lease_extended", "lease_expired"]
    assert rows.events[-1].at == NOW + 120
    assert [event.epoch for event in rows.events] == [1, 2, 3]


def test_what_could_not_be_written_stays(store: Store) -> None:
    suspend(store, "alice")

    def broken(events: Sequence[LeaseEvent]) -> Sequence[Place]:
        raise AuditFault("the disk is full")

    with pytest.raises(AuditFault):
        lease_events.record(store, broken)
    assert lease_events.record(store, Rows()) == 1


def test_a_crowd_is_recorded_in_portions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_events, "AT_ONCE", 2)
    for subject in ("a", "b", "c"):
        suspend(store, subject)
    rows = Rows()
    assert [lease_events.record(store, rows) for _ in range(3)] == [2, 1, 0]
    assert [event.lease.selector.subject for event in rows.events] == ["a", "b", "c"]
