"""Projection: nothing twice, nothing lost, nothing healed in silence; and the process that does it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airlock.audit import database, journal, projector
from airlock.audit.batch import ChainRefused, store
from airlock.audit.catchup import catch_up
from airlock.audit.database import Head
from airlock.audit.journal import Record
from airlock.audit.projection import Projection
from airlock.audit.projector import Status, alone
from airlock.audit.tail import held
from airlock.model.entry import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.audit.conftest import Log


@pytest.fixture
def projection(log: Log) -> Iterator[Projection]:
    with closing(Projection(log.data_dir, clock=log.clock)) as made:
        yield made


def drain(projection: Projection) -> int:
    done = 0
    while more := projection.poll():
        done += more
    return done


# What is projected


def test_rows_head_and_line_of_the_chain_stand_together(log: Log) -> None:
    assert log.rows("SELECT chain_uid, origin, closed_at, head_seq, head_hash FROM audit_chains") == [
        (log.uid, f"test/{log.uid}", None, 10, log.chain.hash)
    ]
    assert log.rows("SELECT COUNT(*), MAX(seq) FROM audit_log") == [(10, 10)]


def test_personal_values_have_their_row_and_the_rest_its_json(log: Log) -> None:
    assert log.rows("SELECT subject, source_ip, data FROM audit_personal WHERE n = 2") == [
        ("user-0", "203.0.113.7", '{"user_agent":"curl"}')
    ]


def test_a_row_without_metadata_still_shows_its_address(log: Log) -> None:
    log.fill(1, metadata={})
    log.project()
    shown = log.rows("SELECT json_extract(metadata, '$.source_ip') FROM audit_events WHERE seq = 11")
    assert shown == [("203.0.113.7",)]


def test_a_predecessor_and_an_end_are_in_the_line_of_the_chain(new_log: Callable[..., Log]) -> None:
    log = new_log("second")
    old = {"chain_uid": "old", "seq": 7, "hash": "ab"}
    log.append(
        Event(event_type="system", action="chain_open", metadata={"predecessor": old, "origin": "o/1"})
    )
    log.append(Event(event_type="system", action="chain_close"))
    log.project()
    origin, predecessor, closed = log.rows("SELECT origin, predecessor, closed_at FROM audit_chains")[0]
    assert (origin, msgspec.json.decode(predecessor), bool(closed)) == ("o/1", old, True)


def test_a_second_projection_starts_where_the_first_stopped(log: Log, projection: Projection) -> None:
    log.fill(3)
    assert (drain(projection), log.verify().rows) == (3, 13)


def test_records_that_are_not_flushed_stay_out(log: Log, projection: Projection) -> None:
    log.append(Event(event_type="system", action="heartbeat"), publish=False)
    assert drain(projection) == 0
    log.directory.publish(log.chain.seq)
    assert drain(projection) == 1


def test_records_behind_the_flushed_ones_stay_out_as_well(log: Log, projection: Projection) -> None:
    heartbeat = Event(event_type="system", action="heartbeat")
    log.append(heartbeat)
    log.append(heartbeat, publish=False)
    assert drain(projection) == 1
    log.directory.publish(log.chain.seq)
    assert drain(projection) == 1


def test_whole_records_of_a_dead_process_are_projected(log: Log, projection: Projection) -> None:
    log.append(Event(event_type="system", action="heartbeat"), publish=False)
    log.release()
    assert held(log.journals / log.uid) is False
    assert drain(projection) == 1


def test_a_chain_that_nobody_writes_is_not_read_again_and_again(log: Log, projection: Projection) -> None:
    log.release()
    drain(projection)
    log.clock.forward(2)
    assert projection.poll() == 0


def test_more_than_a_batch_is_projected_in_order(new_log: Callable[..., Log]) -> None:
    log = new_log("long")
    for _ in range(5):
        log.append(*[Event(event_type="system", action="heartbeat") for _ in range(500)])
    assert log.project() == {}
    assert log.verify().rows == 2500


def test_lag_is_the_age_at_which_a_record_becomes_visible(log: Log, projection: Projection) -> None:
    log.fill(1)
    log.clock.forward(0.4)
    drain(projection)
    assert projection.lag == pytest.approx(0.4, abs=0.01)


# Segments


def test_spent_segments_are_unlinked_and_the_newest_never(log: Log, projection: Projection) -> None:
    log.fill(1)
    log.roll()
    log.fill(1)
    log.roll()
    drain(projection)
    assert projection.unlink() == 2
    assert [path.name for path in journal.segments(log.journals / log.uid)] == [f"{13:020}.seg"]
    log.fill(1)
    assert (drain(projection), log.verify(journals=True).exit) == (1, 0)


def test_unlinking_waits_for_a_reader_that_still_needs_the_write_ahead_log(
    log: Log, projection: Projection
) -> None:
    with closing(sqlite3.connect(log.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM audit_log").fetchone()
        log.fill(1)
        log.roll()
        drain(projection)
        assert projection.unlink() == 0
        reader.execute("COMMIT")
    assert projection.unlink() == 1


def test_segments_are_unlinked_in_passing(log: Log, projection: Projection) -> None:
    log.roll()
    drain(projection)
    log.clock.forward(6)
    projection.poll()
    assert len(journal.segments(log.journals / log.uid)) == 1


def test_a_journal_that_shows_a_deletion_is_kept(log: Log, projection: Projection) -> None:
    log.roll()
    log.tamper("DELETE FROM audit_personal WHERE n = 5", "DELETE FROM audit_log WHERE seq = 5")
    drain(projection)
    assert (projection.unlink(), "only 9 are left" in projection.refused[log.uid]) == (0, True)


# What contradicts


def test_a_deleted_row_below_the_head_is_never_healed(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal WHERE n = 5", "DELETE FROM audit_log WHERE seq = 5")
    log.fill(1)
    assert log.project() == {}
    assert [finding.code for finding in log.verify().findings] == ["V-LINK"]


def test_a_record_that_does_not_link_stops_its_chain_only(log: Log, new_log: Callable[..., Log]) -> None:
    log.tamper("UPDATE audit_chains SET head_hash = ?", parameters=("0" * 64,))
    log.fill(1)
    other = new_log()
    other.fill(2)
    refused = log.project()
    assert "does not link" in refused[log.uid]
    assert log.rows("SELECT chain_uid, COUNT(*) FROM audit_log GROUP BY 1 HAVING COUNT(*) = 3") == [
        (other.uid, 3)
    ]


def test_another_hand_on_the_head_is_noticed(log: Log, projection: Projection) -> None:
    drain(projection)
    log.tamper("UPDATE audit_chains SET head_seq = 9")
    log.fill(1)
    drain(projection)
    assert "another hand" in projection.refused[log.uid]


def test_a_row_in_the_way_stops_the_chain(log: Log) -> None:
    log.tamper(
        "INSERT INTO audit_log (chain_uid, seq, id, timestamp, hash, previous_hash, leaf_hash)"
        " SELECT chain_uid, 11, 'x', timestamp, lower(hex(randomblob(32))), hash, leaf_hash FROM audit_log"
        " WHERE seq = 10"
    )
    log.fill(1)
    assert "stands in the way" in log.project()[log.uid]


def test_rows_whose_chain_lost_its_line_stop_the_chain(log: Log) -> None:
    log.tamper("DELETE FROM audit_chains")
    log.fill(1)
    assert "its line in audit_chains is gone" in log.project()[log.uid]


def test_a_lost_segment_stops_the_chain(log: Log) -> None:
    log.roll()
    log.fill(2)
    log.roll()
    log.fill(1)
    journal.segments(log.journals / log.uid)[1].unlink()
    assert "missing" in log.project()[log.uid] or "was written" in log.project()[log.uid]


def test_damage_stops_the_chain_after_what_is_whole_until_it_is_repaired(
    log: Log, projection: Projection
) -> None:
    sealed = [log.append(Event(event_type="system", action="heartbeat"))[0] for _ in range(3)]
    segment = journal.segments(log.journals / log.uid)[-1]
    whole = segment.read_bytes()
    at = whole.index(sealed[1].entry)
    segment.write_bytes(whole[:at] + b"x" + whole[at + 1 :])
    assert drain(projection) == 1
    assert "at byte" in projection.refused[log.uid]
    segment.write_bytes(whole)
    log.clock.forward(6)
    assert (drain(projection), projection.refused) == (2, {})


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (b"[]", "cannot be read"),
        (b'{"chain_uid":"x","seq":1,"id":"i","timestamp":"t","action":"a"}', "belongs to x 1"),
    ],
)
def test_a_first_record_that_is_no_entry_of_its_chain_is_refused(log: Log, entry: bytes, what: str) -> None:
    with closing(database.open_writer(log.path)) as db, pytest.raises(ChainRefused, match=what):
        store(db, "u", None, [Record(1, entry, b"", 0)])


def test_a_rebuild_from_unreadable_rest_is_refused(log: Log) -> None:
    with closing(database.open_writer(log.path)) as db, pytest.raises(ChainRefused, match="record 5"):
        store(db, "u", None, [Record(5, b"[]", b"", 0)])


def test_what_links_is_stored_before_what_does_not(log: Log) -> None:
    log.fill(2)
    good, bad = list(journal.history(log.journals / log.uid))[-2:]
    head = Head(10, log.rows("SELECT head_hash FROM audit_chains")[0][0])
    with closing(database.open_writer(log.path)) as db:
        stored = store(db, log.uid, head, [good, bad._replace(personal=b"{}")])
    assert (stored.count, "record 12 cannot be read" in stored.defect) == (1, True)


# The database fails


def test_a_deleted_database_is_rebuilt_from_what_the_journal_holds(log: Log, projection: Projection) -> None:
    log.roll()
    log.fill(1)
    drain(projection)
    projection.unlink()
    for path in log.data_dir.glob("audit.db*"):
        path.unlink()
    log.fill(1)
    drain(projection)
    assert any("deleted or replaced" in notice for notice in projection.notices)
    assert any("records 1 to 10 are in neither" in notice for notice in projection.notices)
    assert [finding.code for finding in log.verify().findings] == ["V-LINK"]


def test_a_locked_database_delays_and_loses_nothing(log: Log) -> None:
    said, order = list[Status](), iter([False, True])
    log.fill(1)
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        projection = Projection(log.data_dir, clock=log.clock)
        database_of(projection).execute("PRAGMA busy_timeout = 1")
        with closing(projection), pytest.raises(sqlite3.OperationalError):
            projection.poll()
        other.execute("ROLLBACK")
    projector.run(log.data_dir, should_stop=lambda _: next(order), report=said.append, clock=log.clock)
    assert (said[-1].error, log.verify().rows) == ("", 11)


def database_of(projection: Projection) -> sqlite3.Connection:
    return projection._database()  # pyright: ignore[reportPrivateUsage]


def test_a_full_disk_is_reported_and_survived(log: Log) -> None:
    said = list[Status]()
    log.fill(1)
    with closing(Projection(log.data_dir, clock=log.clock)) as projection:
        db = database_of(projection)
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        log.fill(30)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            drain(projection)
        db.execute("PRAGMA max_page_count = 1000000")
        drain(projection)
    assert (said, log.verify().rows, log.verify().exit) == ([], 41, 0)


def test_a_database_that_cannot_be_opened_is_reported_until_it_can(log: Log) -> None:
    said = list[Status]()
    kept = log.path.read_bytes()
    for path in log.data_dir.glob("audit.db*"):
        path.unlink()
    log.path.write_bytes(b"no database" * 100)
    steps = 0

    def order(_: float) -> bool:
        nonlocal steps
        steps += 1
        log.clock.forward(2)
        if steps == 3:
            log.path.write_bytes(kept)
        return steps > 5

    log.fill(1)
    projector.run(log.data_dir, should_stop=order, report=said.append, clock=log.clock)
    assert "not a database" in said[0].error
    assert said[1].lag_seconds >= 2
    assert (said[-1].error, log.verify().rows) == ("", 11)


# The process


def test_two_projectors_never_run_at_once(log: Log) -> None:
    said, order = list[Status](), iter([False, True])
    with alone(log.data_dir) as first:
        projector.run(log.data_dir, should_stop=lambda _: next(order), report=said.append, clock=log.clock)
    assert (first, said[0].error) == (True, "another projector is at work on this directory")


def start(log: Log, *options: str, **arguments: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "airlock.audit.projector", "--data-dir", str(log.data_dir), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **arguments)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def projected(log: Log, uid: str) -> int:
    try:
        with closing(database.open_reader(log.path)) as db:
            heads = database.heads(db)
    except sqlite3.Error:
        return 0
    return heads[uid].seq if uid in heads else 0


def test_sigterm_ends_it_after_a_last_catch_up(log: Log) -> None:
    process = start(log)
    log.fill(1)
    wait_for(lambda: projected(log, log.uid) == 11)
    process.send_signal(signal.SIGSTOP)
    log.fill(5)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=20)
    last = msgspec.json.decode(output.splitlines()[-1], type=Status)
    assert (process.returncode, last.error, projected(log, log.uid)) == (0, "", 16)


def test_it_ends_with_its_parent(log: Log) -> None:
    reading, writing = os.pipe()
    process = start(log, "--parent-fd", str(reading), pass_fds=(reading,))
    os.close(reading)
    log.fill(1)
    wait_for(lambda: projected(log, log.uid) == 11)
    os.close(writing)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_status_line_is_said_at_most_once_a_second(log: Log) -> None:
    process = start(log)
    began = time.monotonic()
    assert process.stdout is not None
    lines = [msgspec.json.decode(process.stdout.readline(), type=Status) for _ in range(3)]
    took = time.monotonic() - began
    process.terminate()
    process.communicate(timeout=20)
    assert (took >= 1.9, [line.error for line in lines]) == (True, ["", "", ""])


def test_killed_at_any_point_it_goes_on_where_it_stopped(new_log: Callable[..., Log]) -> None:
    log = new_log("killed")
    log.fill(1)
    for number in range(12):
        process = start(log)
        until = time.monotonic() + 0.15 + number * 37 % 100 / 700
        while time.monotonic() < until:
            log.fill(20)
        log.roll()
        process.kill()
        process.communicate(timeout=20)
    assert log.project() == {}
    report = log.verify(journals=True)
    assert (report.exit, report.rows) == (0, log.chain.seq)


# Catching up before somebody reads


def no_pause(_: float) -> None:
    """Nothing to wait for."""


def test_without_a_projector_the_reader_projects(log: Log) -> None:
    log.fill(1)
    assert catch_up(log.data_dir, clock=log.clock, pause=no_pause) == []
    assert projected(log, log.uid) == 11


def test_a_running_projector_is_waited_for(log: Log) -> None:
    process = start(log)
    wait_for(lambda: not_alone(log))
    log.fill(20)
    assert catch_up(log.data_dir, clock=log.clock, pause=time.sleep) == []
    process.terminate()
    process.communicate(timeout=20)
    assert projected(log, log.uid) == 30


def not_alone(log: Log) -> bool:
    with alone(log.data_dir) as sole:
        return not sole


def test_a_projector_that_stands_still_is_not_waited_for_longer_than_asked(log: Log) -> None:
    log.fill(1)
    with alone(log.data_dir):
        behind = catch_up(log.data_dir, clock=log.clock, pause=log.clock.forward, timeout=1)
    assert behind == [f"chain {log.uid}: durable up to 11, projected up to 10"]


def test_a_chain_that_is_refused_is_said(log: Log) -> None:
    log.tamper("DELETE FROM audit_chains")
    log.fill(1)
    (problem,) = catch_up(log.data_dir, clock=log.clock, pause=no_pause)
    assert "audit_chains is gone" in problem


def test_a_database_that_cannot_be_written_is_said(log: Log) -> None:
    for path in log.data_dir.glob("audit.db*"):
        path.unlink()
    log.path.write_bytes(b"no database" * 100)
    (problem,) = catch_up(log.data_dir, clock=log.clock, pause=no_pause)
    assert "cannot be written" in problem
    with alone(log.data_dir):
        (problem,) = catch_up(log.data_dir, clock=log.clock, pause=log.clock.forward, timeout=0)
    assert "cannot be read" in problem


def test_where_there_is_no_journal_nothing_is_made(tmp_path: Path, log: Log) -> None:
    assert catch_up(tmp_path / "nowhere", clock=log.clock, pause=no_pause) == []
    assert not (tmp_path / "nowhere").exists()
