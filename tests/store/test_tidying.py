"""What is over and old leaves the store; what somebody still asks for stays."""

from __future__ import annotations

import msgspec
import pytest

from airlock.app.detected import Reading
from airlock.app.tidying import Tidying
from airlock.core.config import Config
from airlock.incident import alerts as states
from airlock.model.entry import Event
from airlock.model.incident import Alert, Finding, Incident
from airlock.store import alerts, incidents, outbox, tidying
from airlock.store.changes import INCIDENTS, OUTBOX
from airlock.store.database import Store
from tests.gateway.parts import NOW, HandClock
from tests.incident.evidence.parts import event, incident

ROW = Event(event_type="admin", action="config_change", reason="rule_changed")


def raised(store: Store, group: str, *, at: float, dismissed: bool = True, incident: str = "") -> Alert:
    finding = Finding(
        rule="MCP-001", severity="P2", group={"subject": group}, summary="s", since=at, until=at
    )
    (alert,) = alerts.fold(
        store,
        [finding],
        lambda before, each: msgspec.structs.replace(
            states.folded(before, each, at, group), incident=incident
        ),
        states.fingerprint,
        now=at,
    )
    if not dismissed:
        return alert
    return alerts.change(
        store, alert.id, lambda it: states.dismiss(it, "benign", "bob", at), actor="bob", word="x", now=at
    )


def test_alerts_that_ended_go_and_still_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "STEP", 2)
    clock = HandClock()
    reading = Reading(store=store, clock=clock)
    gone = [raised(store, f"old-{n}", at=NOW - 200 * 86400) for n in range(3)]
    kept = [
        raised(store, "new", at=NOW - 86400),
        raised(store, "open", at=NOW - 200 * 86400, dismissed=False),
        raised(store, "of-an-incident", at=NOW - 200 * 86400, incident="INC-1"),
    ]
    before = reading.read().alerts
    tidy = Tidying(config=Config(), store=store, clock=clock)
    assert tidy.step()
    assert len(alerts.listing(store)) == 4
    while tidy.step():
        continue
    assert {each.id for each in alerts.listing(store)} == {each.id for each in kept}
    assert tidying.removed(store) == {"MCP-001": len(gone)}
    assert reading.read().alerts == before


def test_rows_that_are_in_the_log_go_unless_a_timeline_names_them(store: Store) -> None:
    record: Incident = incident()
    incidents.create(store, record, [event()])
    with store.change(OUTBOX) as change:
        plain = [outbox.leave(change.connection, ROW, at=1.0) for _ in range(3)]
    outbox.record(store, lambda events: [("chain", seq) for seq, _ in enumerate(events, 1)])
    with store.change(INCIDENTS) as change:
        waiting = outbox.leave(change.connection, ROW, at=1.0)
        newest = outbox.leave(change.connection, ROW, at=1.0)
    assert tidying.remove_rows(store, before=NOW + 10 * 365 * 86400) == 3
    assert tidying.remove_rows(store, before=NOW + 10 * 365 * 86400) == 0
    assert all(outbox.place(store, number) is None for number in plain)
    assert incidents.timeline(store, record.id)[0].audit_seq is not None
    outbox.record(store, lambda events: [("chain", 7 + seq) for seq, _ in enumerate(events)])
    tidying.remove_rows(store, before=NOW + 10 * 365 * 86400)
    assert outbox.place(store, waiting) is None
    assert outbox.place(store, newest) is not None  # its number is not given again


def test_what_is_young_stays(store: Store) -> None:
    with store.change(OUTBOX) as change:
        first = outbox.leave(change.connection, ROW, at=NOW)
        outbox.leave(change.connection, ROW, at=NOW)
    outbox.record(store, lambda events: [("chain", seq) for seq, _ in enumerate(events, 1)])
    assert not Tidying(config=Config(), store=store, clock=HandClock()).step()
    assert outbox.place(store, first) == ("chain", 1)
