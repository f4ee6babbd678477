"""The watch after an incident: who is watched, and what says that it is not over."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from airlock.app.watching import Watching, failures
from airlock.core import ids
from airlock.core.errors import Fault, Stage
from airlock.incident import alerts as states
from airlock.incident import declaring, watching
from airlock.incident.guard import GuardFailed
from airlock.incident.watching import DOWN, FAILURES, Sight
from airlock.model.health import Service
from airlock.model.incident import Actor, Alert, Finding, Incident, Status
from airlock.store import alerts, incidents, leases
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from tests.app.play_parts import opened as opened_store
from tests.audit.conftest import Log, call
from tests.incident.life_parts import DAY, HOUR, NOW, at, brought_to
from tests.incident.test_alerts import finding

UP = Service(state="UP")
LATER = NOW + 60


class Clock:
    """Seconds that a test moves."""

    def __init__(self, now: float = LATER) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class EndOfTest(Exception):
    """Nothing more is asked."""


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(event)


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    store = opened_store(tmp_path / "data")
    yield store
    store.close()


def kept(store: Store, status: Status = "RESOLVED", *, watch: float = DAY, **more: object) -> Incident:
    """A record of this status, watched for so many seconds."""
    incident = msgspec.structs.replace(brought_to(status), **more)
    incidents.create(store, incident, ())
    if watch:
        with store.change(INCIDENTS) as change:
            watching.begin(change, incident.id, seconds=watch, actor="i|alice", now=NOW)
    return incident


def status(store: Store, incident: Incident) -> Status:
    found = incidents.get(store, incident.id)
    assert found is not None
    return found.status


def test_a_watch_that_lasts_long_enough_is_not_given_twice(store: Store) -> None:
    incident = kept(store)
    with store.change(INCIDENTS) as change:
        again = watching.begin(change, incident.id, seconds=HOUR, actor="i|bob", now=NOW + 60)
        longer = watching.begin(change, incident.id, seconds=DAY, actor="i|bob", now=NOW + 60)
    assert (again.actor, longer.actor) == ("i|alice", "i|bob")
    assert len(leases.listing(store, now=NOW + 60, action="monitoring.enhance")) == 2
    assert store.versions()["leases"] > 1, "the workers are told of leases, not of incidents"


@pytest.mark.parametrize("state", ["TRIAGE", "INVESTIGATING", "IDENTIFIED", "CLOSED"])
def test_what_is_worked_on_or_has_ended_is_not_watched(state: Status) -> None:
    with pytest.raises(GuardFailed):
        watching.may_begin(brought_to(state))


def test_only_what_is_over_and_has_a_lease_is_watched(store: Store) -> None:
    assert watching.watched(store, now=NOW) == []
    kept(store, "MONITORING", id="INC-20260101-000001")
    kept(store, watch=0, id="INC-20260101-000002")
    watched = kept(store, "IN_REVIEW", id="INC-20260101-000003")
    assert [each.id for each in watching.watched(store, now=NOW)] == [watched.id]
    assert watching.watched(store, now=NOW + DAY) == []


def test_trouble_is_a_rate_of_failures_or_a_gateway_that_stays_down() -> None:
    assert watching.trouble(Sight()) == ""
    assert watching.trouble(Sight(failed=("row",) * (FAILURES - 1), down=DOWN - 1)) == ""
    assert "row-1" in watching.trouble(Sight(failed=tuple(f"row-{n}" for n in range(FAILURES))))
    assert "policy failed" in watching.trouble(Sight(down=DOWN, reasons=("policy failed",)))
    assert "does not answer" in watching.trouble(Sight(down=DOWN))


def test_who_was_quicker_opened_it(store: Store) -> None:
    incident = brought_to("INVESTIGATING")
    assert watching.reopened(incident, "why", at()).events == ()


def test_a_finding_says_that_it_goes_on_only_by_what_happened_since() -> None:
    over = [brought_to("RESOLVED")]
    before = finding(since=NOW - 60, until=NOW + 5, event_ids=(ids.uuid7_at(NOW - 1, bytes(10)), "row"))
    assert watching.goes_on(before, over) == []
    row = msgspec.structs.replace(before, event_ids=(*before.event_ids, ids.uuid7_at(NOW + 1, bytes(10))))
    assert watching.goes_on(row, over) == over
    assert watching.goes_on(msgspec.structs.replace(before, since=NOW + 1), over) == over


@pytest.mark.parametrize(
    ("text", "at_"),
    [
        (ids.uuid7_at(1_795_000_000.25, bytes(10)), 1_795_000_000.25),
        ("row-1", 0.0),
        ("", 0.0),
        ("zzzzzzzz-zzzz-7zzz-zzzz-zzzzzzzzzzzz", 0.0),
        ("00000000-0000-4000-8000-000000000000", 0.0),
    ],
)
def test_an_id_tells_when_it_was_made(text: str, at_: float) -> None:
    assert ids.moment(text) == at_


def place(store: Store, found: Finding) -> str:
    """The incident that an alert of this finding joins."""
    kept_alerts = alerts.fold(
        store,
        [found],
        lambda before, one: states.folded(before, one, LATER, ids.uuid7()),
        states.fingerprint,
        now=LATER,
    )
    actor = Actor(type="detector", id=found.rule)
    placed: Alert = declaring.placed(
        store, kept_alerts[0], lambda rule: rule, begin=True, actor=actor, now=LATER
    )
    return placed.incident


def test_an_alert_of_its_rule_opens_a_watched_incident_again(store: Store) -> None:
    incident = kept(store, rules=("MCP-002",))
    assert place(store, finding(since=NOW + 1, until=NOW + 9)) == incident.id
    assert status(store, incident) == "INVESTIGATING"


def test_an_alert_of_another_kind_begins_an_incident_of_its_own(store: Store) -> None:
    incident = kept(store, rules=("MCP-020",))
    assert place(store, finding(since=NOW + 1, until=NOW + 9)) != incident.id
    assert status(store, incident) == "RESOLVED"


def log(folder: Path, *, failed: int, at_: float = NOW + 30, synthetic: bool = False) -> Path:
    """An audit log with so many calls that failed."""
    made = Log(folder / "log")
    made.clock.now = at_
    made.fill(2)
    marks = {"metadata": {"synthetic": True}} if synthetic else {}
    made.append(
        *(
            call(n, decision="error", reason="upstream_timeout", phase="outcome", **marks)
            for n in range(failed)
        )
    )
    made.project()
    made.release()
    return made.path


def watcher(store: Store, audit: Path, clock: Clock, service: Service = UP) -> tuple[Watching, Lines]:
    lines = Lines()
    return Watching(store=store, audit=audit, service=lambda: service, clock=clock, log=lines), lines


@pytest.mark.parametrize(
    ("failed", "synthetic", "after"),
    [(FAILURES, False, "INVESTIGATING"), (FAILURES - 1, False, "RESOLVED"), (FAILURES, True, "RESOLVED")],
)
def test_failing_calls_open_it_again(
    store: Store, tmp_path: Path, failed: int, synthetic: bool, after: Status
) -> None:
    incident = kept(store)
    watch, lines = watcher(store, log(tmp_path, failed=failed, synthetic=synthetic), Clock())
    watch.look()
    assert status(store, incident) == after
    assert lines.lines == (["incident_reopened"] if after == "INVESTIGATING" else [])
    watch.look()
    assert len(lines.lines) <= 1


def test_what_failed_before_the_resolution_counts_for_nothing(store: Store, tmp_path: Path) -> None:
    incident = kept(store)
    watch, _ = watcher(store, log(tmp_path, failed=FAILURES, at_=NOW - 1), Clock(NOW + 10))
    watch.look()
    assert status(store, incident) == "RESOLVED"


def test_a_gateway_that_stays_down_opens_it_again(store: Store, tmp_path: Path) -> None:
    incident = kept(store)
    watch, _ = watcher(store, tmp_path / "none.db", Clock(), Service(state="DOWN", reasons=("gone",)))
    for _ in range(DOWN - 1):
        watch.look()
    assert status(store, incident) == "RESOLVED"
    watch.look()
    assert status(store, incident) == "INVESTIGATING"


def test_nothing_is_asked_while_nothing_is_watched(store: Store, tmp_path: Path) -> None:
    watch, _ = watcher(store, tmp_path / "none.db", Clock())
    watch._service = pytest.fail  # pyright: ignore[reportPrivateUsage] # asking is what must not happen
    watch.look()


def test_a_log_that_cannot_be_read_is_said_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, lines = watcher(store, Path("none"), Clock())
    troubles = iter(
        [sqlite3.OperationalError("locked"), sqlite3.OperationalError("locked"), _lost(), EndOfTest()]
    )

    def look() -> None:
        raise next(troubles)

    monkeypatch.setattr("airlock.app.watching.EVERY", 0.0)
    monkeypatch.setattr(watch, "look", look)
    with pytest.raises(EndOfTest):
        asyncio.run(watch.run())
    assert lines.lines == ["watch_failed", "watch_failed"]


def _lost() -> Fault:
    return Fault(Stage.RECORD, 50302, "control_unavailable", "It is gone.", detail="no disk")


def test_no_log_has_no_failures(tmp_path: Path) -> None:
    assert failures(tmp_path / "none.db", since=0.0) == ()
