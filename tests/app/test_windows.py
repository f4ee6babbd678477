"""The loop of the rules that look at a window: from a real log to findings."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from airlock.app import windows
from airlock.app.windows import Windows, low, opened
from airlock.audit.gaps import LiveChain
from airlock.core import log as logs
from airlock.core.errors import Fault, Stage
from airlock.incident.detect.follow import Follower
from airlock.incident.detect.memory import Memory
from airlock.model.detection import Setting
from airlock.model.entry import Event
from airlock.model.health import Service
from airlock.model.incident import Finding
from airlock.store import rule_settings
from airlock.store.database import Store, open_store
from tests.audit.conftest import Log

DRIFT = Event(
    event_type="system", action="tool_drift", reason="definition_changed", server_id="notes",
    tool_name="read", severity="CRITICAL",
)  # fmt: skip


class House:
    """An engine's loop over a log that a test writes."""

    def __init__(self, path: Path) -> None:
        self.log = Log(path)
        self.log.fill(3)
        self.store: Store = open_store(path / "store.db")
        self.memory = Memory()
        self.follower = Follower(self.log.path, self.memory)
        self.found: list[Finding] = []
        self.taken = asyncio.Event()
        self.failure: Fault | None = None
        self.service = Service(state="UP")
        self.loop = Windows(
            data_dir=path,
            store=self.store,
            found=self._take,
            service=lambda: self.service,
            clock=self.log.clock,
            log=logs.get("incident"),
        )

    async def _take(self, findings: Sequence[Finding]) -> None:
        if self.failure is not None:
            raise self.failure
        self.found += findings
        self.taken.set()

    def once(self) -> bool:
        """One pass, with the log projected."""
        self.log.clock.forward(1)
        self.log.project()
        return asyncio.run(self.loop.once(self.memory, self.follower))

    def rules(self) -> list[str]:
        return [each.rule for each in self.found]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "data")
    yield made
    made.memory.close()
    made.store.close()
    made.log.release()


def test_what_is_found_is_handed_on_once(house: House) -> None:
    assert house.once() is True
    assert house.rules() == []
    house.log.append(DRIFT)
    house.once()
    house.once()
    (found,) = house.found
    assert (found.rule, found.severity, found.group) == ("MCP-011", "P1", {"server": "notes", "tool": "read"})
    assert found.event_ids == (house.log.rows("SELECT id FROM audit_log WHERE action = 'tool_drift'")[0][0],)


def test_a_tampered_row_is_found(house: House) -> None:
    house.once()
    house.log.tamper("UPDATE audit_log SET decision = 'deny' WHERE seq = 3")
    house.once()
    assert [(each.rule, each.severity) for each in house.found] == [("MCP-023", "P0")]


def test_settings_of_operators_hold(house: House) -> None:
    rule_settings.put(
        house.store, rule="MCP-011", tenant="", setting=Setting(mode="inactive"),
        event=Event(event_type="admin", action="config_change"), now=1.0,
    )  # fmt: skip
    assert rule_settings.load(house.store) == {("MCP-011", ""): Setting(mode="inactive")}
    house.log.append(DRIFT)
    house.once()
    assert house.rules() == []
    rule_settings.put(
        house.store, rule="MCP-011", tenant="", setting=Setting(),
        event=Event(event_type="admin", action="config_change"), now=2.0,
    )  # fmt: skip
    assert rule_settings.load(house.store) == {}
    house.once()
    assert house.rules() == ["MCP-011"]


def test_rules_wait_until_everything_is_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST", 2)
    monkeypatch.setattr("airlock.incident.detect.follow.BATCH", 2)
    house.log.append(DRIFT)
    passes = [house.once() for _ in range(3)]
    assert (passes, house.rules()) == ([False, False, True], ["MCP-011"])


def test_a_flood_does_not_keep_rules_waiting_for_good(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.once()
    monkeypatch.setattr(windows, "MOST", 2)
    monkeypatch.setattr("airlock.incident.detect.follow.BATCH", 2)
    house.log.append(DRIFT)
    house.log.fill(20)
    assert (house.once(), house.rules()) == (False, [])
    house.log.clock.forward(windows.LATEST)
    assert (house.once(), house.rules(), house.loop.trouble) == (False, ["MCP-011"], windows.BEHIND)
    while not house.once():
        pass
    assert house.loop.trouble == ""


@pytest.mark.parametrize("count", ["99999999999999999999999", "-1", "9223372036854775807"])
def test_a_number_that_no_database_holds_stops_no_rule(house: House, count: str) -> None:
    house.once()
    house.log.append(DRIFT)
    house.log.project()
    house.log.tamper(
        "UPDATE audit_log SET metadata = ?, latency_ms = 9223372036854775807",
        parameters=(f'{{"result_bytes": {count}}}',),
    )
    house.once()
    assert house.rules() == ["MCP-011", "MCP-023"]
    assert house.loop.trouble == ""


def test_without_a_log_that_is_said(house: House) -> None:
    house.log.project()
    house.log.path.rename(house.log.path.with_name("elsewhere.db"))
    with capture_logs() as said:
        assert asyncio.run(house.loop.once(house.memory, house.follower)) is True
    assert house.loop.trouble == "there is no audit.db"
    assert [line["event"] for line in said] == ["detection_failed"]


def test_records_that_nobody_projects_are_a_gap(house: House) -> None:
    house.once()
    house.log.fill(1)
    for expected in ([], ["MCP-022"]):
        asyncio.run(house.loop.once(house.memory, house.follower))
        assert house.rules() == expected
    assert house.found[0].group == {"component": house.log.uid}


def test_a_full_disk_is_a_gap_to_come(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "DISK_BYTES", 1 << 60)
    monkeypatch.setattr(windows, "DISK_SHARE", 1.1)
    house.once()
    assert [(each.rule, each.severity) for each in house.found] == [("MCP-022", "P2")]


def test_a_disk_is_full_by_share_and_by_bytes() -> None:
    gib = 1 << 30
    assert low(gib, 100 * gib)
    assert not low(gib, 4 * gib)
    assert not low(9 * gib, 1000 * gib)


def test_a_journal_says_what_troubles_it() -> None:
    chain = LiveChain(held=True, durable=3, spool=2, damage="torn")
    assert [each.reason for each in windows.troubles("c", chain)] == ["spool_waiting", "journal_damaged"]


def test_what_fails_is_logged_and_tried_again(house: House) -> None:
    house.log.append(DRIFT)
    house.failure = Fault(Stage.RECORD, 50302, "store_unavailable", "The store does not answer.")
    with capture_logs() as said:
        assert house.once() is True
    assert [(line["event"], line["part"]) for line in said] == [("detection_failed", "windows")]
    house.failure = None
    house.once()
    assert house.rules() == ["MCP-011"]


def test_a_log_that_takes_no_record_is_found_without_it(house: House) -> None:
    house.once()
    house.service = Service(state="DOWN", reasons=("policy ok: ", "audit failed: File too large"))
    house.once()
    (found,) = house.found
    assert (found.rule, found.severity, found.group) == ("MCP-022", "P1", {"component": "audit"})
    house.once()
    assert house.rules() == ["MCP-022"]


def test_without_a_log_there_is_nothing_to_find(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")
    nobody = Windows(
        data_dir=tmp_path,
        store=store,
        found=_refuse,
        service=Service,
        clock=Log(tmp_path / "x").clock,
        log=logs.get("incident"),
    )
    with closing(Memory()) as memory:
        assert asyncio.run(nobody.once(memory, Follower(tmp_path / "audit.db", memory))) is True
    store.close()


async def _refuse(findings: Sequence[Finding]) -> None:
    raise AssertionError(findings)


def test_a_memory_that_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "detection.db"
    path.write_bytes(b"no database" * 1000)
    with closing(opened(path)) as memory:
        assert memory.standing("n") == 0
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_the_loop_works_until_it_is_cancelled(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "EVERY", 0.01)
    house.log.append(DRIFT)
    house.log.clock.forward(1)
    house.log.project()

    async def run() -> None:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            task = group.create_task(house.loop.run())
            await house.taken.wait()
            task.cancel()

    asyncio.run(run())
    assert house.rules() == ["MCP-011"]
