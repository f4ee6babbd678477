"""Files of incidents: gathered from store and log, written after each event, and only then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from airlock.app import outside, record
from airlock.app.filing import PAGES_EVERY, Filer, Filing, replace
from airlock.app.record import Sources
from airlock.core.config import Config, ServerSection
from airlock.incident import regulation
from airlock.incident.questions import INTEGRITY
from airlock.incident.render import documents
from airlock.model.health import Service
from airlock.model.incident import SYSTEM_ACTOR, Decided, IncidentEvent
from airlock.model.lease import Selector, Unfit
from airlock.store import incidents, leases
from airlock.store.database import Store, open_store
from tests.audit.conftest import Log, call
from tests.incident import records
from tests.incident.records import ID


class World:
    """A data directory with a store, a log of five calls, and one incident that began a minute ago."""

    def __init__(self, folder: Path) -> None:
        self.log = Log(folder)
        self.log.fill(5)
        self.log.project()
        self.clock = self.log.clock
        self.store: Store = open_store(folder / "sark.db")
        self.where = Sources(store=self.store, data=folder, law=regulation.shipped())
        self.asked = 0
        now = self.clock.wall()
        bare = records.empty().incident
        self.incident = msgspec.structs.replace(
            bare, opened_at=now - 60, detected_at=now - 60, clocks_from=now - 60, status="INVESTIGATING"
        )
        incidents.create(self.store, self.incident, [self.event("detected", "Found")])

    def event(self, kind: Any, summary: str, **more: Any) -> IncidentEvent:
        now = self.clock.wall()
        return IncidentEvent(kind=kind, at=now, occurred_at=now, actor=SYSTEM_ACTOR, summary=summary, **more)

    def service(self) -> Service:
        self.asked += 1
        return Service(state="UP")

    def filer(self) -> Filer:
        return Filer(self.where, service=self.service, clock=self.clock)

    def file(self, name: documents.FileName) -> str:
        return (self.where.folder / ID / documents.file_name(name, ID)).read_text()

    def resolve(self) -> None:
        def decide(before: records.Incident) -> Decided:
            after = msgspec.structs.replace(before, status="RESOLVED", resolved_at=self.clock.wall())
            return Decided(incident=after, events=(self.event("status_changed", "Resolved"),))

        incidents.change(self.store, ID, decide)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "data")
    yield made
    made.store.close()
    made.log.release()


def test_every_file_is_written_and_the_pages_beside_it(world: World) -> None:
    assert world.filer().write() == [ID]
    assert {path.name for path in (world.where.folder / ID).iterdir()} == {
        documents.file_name(name, ID) for name in documents.FILES
    }
    assert {path.name for path in world.where.folder.iterdir()} == {
        ID, "night.html", "status.html", "status.json",
    }  # fmt: skip
    assert (world.where.folder / ID / f"pir-{ID}.md").stat().st_mode & 0o077 == 0


def test_files_are_written_again_after_an_event_and_not_without(world: World) -> None:
    filer = world.filer()
    filer.write()
    assert filer.write() == []
    assert world.asked == 1
    incidents.append(world.store, ID, [world.event("note", "A second fact")])
    assert filer.write() == [ID]
    assert "[note] A second fact (event 2)" in world.file("report")


def test_an_incident_that_cannot_be_shown_hides_no_other_and_the_night_page_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "INC-20260101-000001"
    incidents.create(world.store, msgspec.structs.replace(world.incident, id=bad), [])
    usual = documents.files

    def broken(record: Any) -> Any:
        if record.incident.id == bad:
            raise KeyError("unforeseen")
        return usual(record)

    monkeypatch.setattr(documents, "files", broken)
    with pytest.raises(ExceptionGroup, match="files of incidents"):
        world.filer().write()
    page = (world.where.folder / "night.html").read_text()
    assert ID in page
    assert f"{bad} cannot be shown: KeyError" in page


def test_the_pages_are_written_again_as_time_goes_on(world: World) -> None:
    filer = world.filer()
    filer.write()
    page = world.where.folder / "night.html"
    before = page.read_text()
    world.clock.forward(PAGES_EVERY)
    assert filer.write() == []
    assert page.read_text() != before


def test_the_night_page_says_what_is_contained_by_now(world: World) -> None:
    leases.activate(
        world.store, action="ip.block", selector=Selector(cidr="203.0.113.7/32"), ttl=60, reason="test",
        actor="i|alice", origin="cli", now=world.clock.wall(), incident=ID,
    )  # fmt: skip
    filer = world.filer()
    filer.write()
    page = world.where.folder / "night.html"
    assert "contained by 1 leases" in page.read_text()
    world.clock.forward(PAGES_EVERY + 61)
    filer.write()
    assert "nothing is contained" in page.read_text()


def test_a_file_that_somebody_edited_is_put_right_with_the_next_event(world: World) -> None:
    filer = world.filer()
    filer.write()
    path = world.where.folder / ID / documents.file_name("report", ID)
    path.write_text("**Status**: RESOLVED\n")
    incidents.append(world.store, ID, [world.event("note", "Still open")])
    filer.write()
    assert "**Status**: INVESTIGATING\n" in world.file("report")


def test_what_was_over_long_ago_is_not_written_again_after_a_start(world: World) -> None:
    def closed(before: records.Incident) -> Decided:
        after = msgspec.structs.replace(before, status="CLOSED", closed_at=world.clock.wall())
        return Decided(incident=after)

    incidents.change(world.store, ID, closed)
    assert world.filer().write() == [ID]
    world.clock.forward(8 * records.DAY)
    later = world.filer()
    assert later.write() == []
    incidents.append(world.store, ID, [world.event("evidence_accessed", "Somebody looked")])
    assert later.write() == [ID]
    assert "Somebody looked" in world.file("report")


def test_the_log_is_verified_once_it_is_resolved_and_once_only(world: World) -> None:
    filer = world.filer()
    filer.write()
    assert "Data integrity status: not yet known" in world.file("review")
    world.resolve()
    filer.write()
    assert "Data integrity status: intact: no contradiction in 6 rows from its start" in world.file("review")
    world.log.tamper("UPDATE audit_log SET decision = 'deny' WHERE seq = 3")
    incidents.append(world.store, ID, [world.event("note", "Later")])
    filer.write()
    assert "intact" in world.file("review"), "the result is that of the time of the resolution"


def test_an_edited_row_is_named_where_the_log_is_verified(world: World) -> None:
    world.resolve()
    world.log.tamper("UPDATE audit_log SET decision = 'deny' WHERE seq = 3")
    found = record.gather(world.where, ID, service=Service(), clock=world.clock)
    assert found.answers[INTEGRITY].rows[0][0] == "failed"
    assert f"failed at seq 3 of chain {world.log.uid}" in documents.file("review", found)


def test_a_record_has_the_leases_of_its_incident_and_of_no_other(world: World) -> None:
    for incident in (ID, "INC-20261122-210701"):
        leases.activate(
            world.store, action="ip.block", selector=Selector(cidr="203.0.113.7/32"), ttl=60, reason="test",
            actor="i|alice", origin="cli", now=world.clock.wall(), incident=incident,
        )  # fmt: skip
    found = record.gather(world.where, ID, service=Service(), clock=world.clock)
    assert [each.incident for each in found.leases] == [ID]
    assert "ip.block (cidr 203.0.113.7/32)" in documents.file("breach", found)


def test_exposure_starts_at_the_leases_of_the_incident(world: World) -> None:
    leases.activate(
        world.store, action="subject.suspend", selector=Selector(subject="user-1"), ttl=60, reason="test",
        actor="i|alice", origin="cli", now=world.clock.wall(), incident=ID,
    )  # fmt: skip
    world.log.append(call(8, decision="deny", reason="contained", personal=call(1).personal))
    world.log.project()
    reached, source = record.exposed(world.where, ID, clock=world.clock)
    assert reached.start == (("subject", "user-1"),)
    assert (reached.counts["confirmed"], reached.counts["prevented"]) == (2, 1)
    assert (source.query, source.rows) == ("exposure", ())
    assert [each.query for each in record.affected(world.where, ID, clock=world.clock)]


def test_exposure_without_anybody_named_says_so(world: World) -> None:
    reached, _ = record.exposed(world.where, ID, clock=world.clock)
    assert any("nowhere to start" in each for each in reached.unknown)


@pytest.mark.parametrize("ask", [record.exposed, record.affected, record.gather])
def test_an_unknown_incident_is_unfit(world: World, ask: Any) -> None:
    more = {"service": Service()} if ask is record.gather else {}
    with pytest.raises(Unfit, match="no incident"):
        ask(world.where, "INC-20261122-000000", clock=world.clock, **more)


def test_a_report_for_auditors_has_five_answers(world: World) -> None:
    now = world.clock.wall()
    answers = record.compliance(world.where, since=now - 3600, until=now + 1, clock=world.clock)
    assert [each.query for each in answers] == ["hours", "denials", "fail_open", "unapproved_tools", "gaps"]
    assert all(each.known for each in answers)


def test_what_cannot_be_written_is_said_once_and_tried_again(world: World) -> None:
    world.where.folder.write_text("in the way")
    filing = Filing(world.filer(), log=structlog.get_logger())
    with structlog.testing.capture_logs() as lines:
        filing.once()
        filing.once()
        world.where.folder.unlink()
        filing.once()
    assert [line["event"] for line in lines] == ["incident_files_failed", "incident_files"]
    assert "INVESTIGATING" in world.file("report")


def test_the_loop_writes_until_it_is_cancelled(world: World) -> None:
    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await Filing(world.filer(), log=structlog.get_logger()).run()

    asyncio.run(run())
    assert "INVESTIGATING" in world.file("report")


def test_a_file_with_the_same_content_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace(path, b"one")
    before = path.stat().st_ino
    replace(path, b"one")
    assert path.stat().st_ino == before
    replace(path, b"two")
    assert path.read_bytes() == b"two"


@pytest.mark.parametrize(
    ("ready", "state"),
    [
        ({"ready": True, "components": {"policy": {"state": "ok", "reason": ""}}}, "UP"),
        ({"ready": True, "components": {"auth": {"state": "degraded", "reason": "no keys"}}}, "DEGRADED"),
        ({"ready": False, "components": {"audit": {"state": "failed", "reason": "full"}}}, "DOWN"),
        ({}, "DOWN"),
    ],
)
def test_the_state_of_the_service_is_what_ready_says(ready: dict[str, Any], state: str) -> None:
    found = outside.judged(ready)
    assert found.state == state
    assert bool(found.reasons) == (state != "UP" and bool(ready))


def test_a_gateway_that_does_not_answer_is_down() -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = outside.service(Config(server=ServerSection(port=port)))
    assert found.state == "DOWN"
    assert f":{port}/ready does not answer" in found.reasons[0]
