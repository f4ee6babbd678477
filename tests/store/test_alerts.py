"""Alerts in the store: folded in one transaction with their reader's place, and bounded in a flood."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from airlock.core import ids
from airlock.incident import alerts as states
from airlock.model.entry import Event
from airlock.model.incident import Alert, Finding
from airlock.model.lease import Unfit
from airlock.store import alerts, cursors, outbox
from airlock.store.cursors import Cursor
from airlock.store.database import Store
from airlock.store.schema import alerts as table

NOW = 1_795_000_000.0


def finding(n: int = 0, **more: Any) -> Finding:
    told: dict[str, Any] = {
        "rule": "MCP-002",
        "severity": "P1",
        "group": {"source_ip": f"203.0.113.{n}"},
        "summary": "stuffing",
        "since": NOW - 60,
        "until": NOW,
        **more,
    }
    return Finding(**told)


def fold(store: Store, *findings: Finding, now: float = NOW, place: Any = None) -> list[Alert]:
    return alerts.fold(
        store,
        findings,
        lambda before, found: states.folded(before, found, now, ids.uuid7()),
        states.fingerprint,
        now=now,
        place=place,
    )


def rows(store: Store) -> list[Event]:
    told: list[Event] = []

    def write(events: Any) -> list[tuple[str, int]]:
        told.extend(events)
        return [("chain", n) for n, _ in enumerate(events)]

    while outbox.record(store, write):
        pass
    return told


def count(store: Store) -> int:
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_new_alert_is_read_as_it_was_made_and_leaves_one_row(store: Store) -> None:
    (made,) = fold(store, finding(), finding())
    assert made.count == 2
    assert alerts.get(store, made.id) == made
    assert alerts.newest(store, made.fingerprint) == made
    assert alerts.get(store, "nobody") is None
    (row,) = rows(store)
    assert (row.reason, row.severity, row.metadata["rule"]) == ("alert_raised", "HIGH", "MCP-002")
    assert "203.0.113.0" not in str(row.metadata)
    fold(store, finding())
    assert rows(store) == []


def test_a_dismissed_alert_is_left_alone(store: Store) -> None:
    (first,) = fold(store, finding())
    alerts.change(
        store, first.id, lambda it: states.dismiss(it, "benign", "bob", NOW), actor="bob", word="x", now=NOW
    )
    (second,) = fold(store, finding())
    assert second.id != first.id
    assert alerts.waiting(store) == {"NEW": 1}
    assert alerts.raised(store) == {"MCP-002": 2}


def test_a_step_has_a_version_and_a_row(store: Store) -> None:
    (made,) = fold(store, finding())

    def seen(it: Alert) -> Alert:
        return states.acknowledge(it, "bob", NOW)

    with pytest.raises(Unfit, match="version 1"):
        alerts.change(store, made.id, seen, actor="bob", word="alert_acknowledged", now=NOW, expected=7)
    with pytest.raises(Unfit, match="no alert"):
        alerts.change(store, "nobody", seen, actor="bob", word="alert_acknowledged", now=NOW)
    after = alerts.change(store, made.id, seen, actor="bob", word="alert_acknowledged", now=NOW, expected=1)
    assert alerts.get(store, made.id) == after
    assert [row.reason for row in rows(store)] == ["alert_raised", "alert_acknowledged"]


def test_alerts_are_found_by_state_rule_incident_and_time(store: Store) -> None:
    (old,) = fold(store, finding(1, until=NOW - 500, since=NOW - 900))
    (new,) = fold(store, finding(2, rule="MCP-003"))
    assert [each.id for each in alerts.listing(store)] == [new.id, old.id]
    assert [each.id for each in alerts.listing(store, since=NOW - 100)] == [new.id]
    assert [each.id for each in alerts.listing(store, rule="MCP-002")] == [old.id]
    assert alerts.listing(store, states=("DISMISSED",)) == []
    assert alerts.listing(store, incident="INC-1") == []
    assert len(alerts.listing(store, limit=1)) == 1


def test_a_place_is_noted_with_what_was_found_or_not_at_all(store: Store) -> None:
    place = Cursor(n=7, at=NOW, keyless={"https://id.example": NOW})
    fold(store, finding(), place=("detect", place))
    assert cursors.cursor(store, "detect") == place

    def broken(before: Alert | None, found: Finding) -> Alert:
        raise Unfit("alert_state", "no")

    with pytest.raises(Unfit):
        alerts.fold(
            store, [finding(2)], broken, states.fingerprint, now=NOW, place=("detect", Cursor(n=9, at=NOW))
        )
    assert cursors.cursor(store, "detect") == place
    fold(store, place=("detect", Cursor(n=8, at=NOW)))
    assert cursors.cursor(store, "detect") == Cursor(n=8, at=NOW)
    assert cursors.cursor(store, "other") is None


def test_a_flood_of_groups_is_one_alert_beside_the_first_ones(store: Store) -> None:
    groups = [msgspec.structs.replace(finding(), group={"subject": f"s-{n}"}) for n in range(5000)]
    fold(store, *groups)
    assert count(store) == alerts.MOST_NEW + 1
    fold(store, *groups[4000:])
    assert count(store) == alerts.MOST_NEW + 1
    others = next(each for each in alerts.listing(store) if each.finding.group == alerts.OTHERS)
    assert others.count == 5000 - alerts.MOST_NEW + 1000
    (known,) = fold(store, groups[0])
    assert known.finding.group == {"subject": "s-0"}
    (other_rule,) = fold(store, finding(rule="MCP-003"))
    assert other_rule.finding.group != alerts.OTHERS
