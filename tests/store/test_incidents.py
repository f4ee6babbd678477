"""Records of incidents: a record and its timeline change together, each event leaves a row for the log."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec
import pytest

from airlock.model.entry import Event
from airlock.model.incident import SYSTEM_ACTOR, Decided, Incident, IncidentEvent, Kind
from airlock.model.lease import Unfit
from airlock.store import incidents, outbox
from airlock.store.database import Store, open_store

NOW = 1_790_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    opened = open_store(tmp_path / "sark.db")
    yield opened
    opened.close()


def incident(id: str = "INC-20261122-180000") -> Incident:
    return Incident(
        id=id,
        title="Credential stuffing",
        type="security_incident",
        severity="P1",
        status="TRIAGE",
        detection_source="gateway_detection",
        opened_at=NOW,
        detected_at=NOW,
        clocks_from=NOW,
    )


def event(kind: Kind = "note", summary: str = "seen", once: str = "") -> IncidentEvent:
    return IncidentEvent(kind=kind, at=NOW, occurred_at=NOW, actor=SYSTEM_ACTOR, summary=summary, once=once)


def test_a_record_is_read_as_it_was_written(store: Store) -> None:
    incidents.create(store, incident(), [event("detected")])
    assert incidents.get(store, incident().id) == incident()
    assert [each.event for each in incidents.timeline(store, incident().id)] == [event("detected")]
    assert incidents.get(store, "INC-20261122-180001") is None


def test_an_id_is_taken_once(store: Store) -> None:
    incidents.create(store, incident(), [])
    with pytest.raises(Unfit, match="already"):
        incidents.create(store, incident(), [event()])
    assert incidents.timeline(store, incident().id) == []


def test_a_change_raises_the_version_and_a_stale_one_changes_nothing(store: Store) -> None:
    incidents.create(store, incident(), [])

    def retitle(found: Incident) -> Decided:
        return Decided(incident=msgspec.structs.replace(found, title="Token spray"), events=(event(),))

    changed = incidents.change(store, incident().id, retitle, expected=1)
    assert (changed.incident.version, changed.incident.title) == (2, "Token spray")
    with pytest.raises(Unfit, match="version 2"):
        incidents.change(store, incident().id, retitle, expected=1)
    assert len(incidents.timeline(store, incident().id)) == 1
    with pytest.raises(Unfit, match="no incident"):
        incidents.change(store, "INC-20260101-000000", retitle)


def test_an_event_with_a_key_is_written_once(store: Store) -> None:
    incidents.create(store, incident(), [])
    first = incidents.append(store, incident().id, [event("clock_breached", once="response")])
    again = incidents.append(store, incident().id, [event("clock_breached", once="response"), event()])
    assert [each.seq for each in (*first, *again)] == [1, 2]
    kinds = [each.event.kind for each in incidents.timeline(store, incident().id)]
    assert kinds == ["clock_breached", "note"]
    assert incidents.timeline(store, incident().id, after=1)[0].event.kind == "note"


def test_every_event_leaves_a_row_that_commits_to_it(store: Store) -> None:
    incidents.create(store, incident(), [event("detected", "mallory tries names"), event()])
    rows: list[Event] = []

    def write(events: Sequence[Event]) -> list[outbox.Place]:
        rows.extend(events)
        return [("chain", 40 + number) for number, _ in enumerate(events)]

    assert outbox.record(store, write) == 2
    assert outbox.record(store, write) == 0
    line = incidents.timeline(store, incident().id)
    assert [(each.chain_uid, each.audit_seq) for each in line] == [("chain", 40), ("chain", 41)]
    assert [row.metadata["digest"] for row in rows] == [each.digest for each in line]
    assert {row.correlation_id for row in rows} == {incident().id}
    assert b"mallory" in (rows[0].personal.arguments or b"")
    assert "mallory" not in str(rows[0].metadata)


def test_rows_wait_for_a_log_that_fails(store: Store) -> None:
    incidents.create(store, incident(), [event()])

    def write(events: object) -> list[outbox.Place]:
        raise OSError("the disk is full")

    with pytest.raises(Exception, match="disk is full"):
        outbox.record(store, write)
    assert incidents.timeline(store, incident().id)[0].audit_seq is None
    assert outbox.place(store, 1) is None


def test_lists_hold_the_newest_first_and_the_ended_when_asked(store: Store) -> None:
    older = msgspec.structs.replace(incident("INC-20261122-170000"), opened_at=NOW - 3600)
    closed = msgspec.structs.replace(incident("INC-20261122-160000"), opened_at=NOW - 7200, status="CLOSED")
    for each in (older, incident(), closed):
        incidents.create(store, each, [])
    assert [each.id for each in incidents.listing(store)] == [incident().id, older.id]
    assert [each.id for each in incidents.listing(store, include_ended=True)][-1] == closed.id
