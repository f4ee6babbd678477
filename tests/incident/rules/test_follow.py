"""From a real audit log into memory: every row once, and every row that is not what it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from airlock.incident.detect import follow
from airlock.incident.detect.follow import Follower
from airlock.incident.detect.links import Defect
from airlock.incident.detect.memory import DAY, Memory
from tests.audit.conftest import Log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """An opening and nine calls."""
    made = Log(tmp_path / "data")
    made.fill(9)
    assert made.project() == {}
    yield made
    made.release()


@pytest.fixture
def memory() -> Iterator[Memory]:
    with closing(Memory()) as made:
        yield made


def actions(memory: Memory) -> list[str]:
    return [row[0] for row in memory.db.execute("SELECT action FROM events ORDER BY rowid")]


def defects(memory: Memory) -> list[tuple[str, str]]:
    rows = memory.db.execute("SELECT reason, id FROM events WHERE action = 'audit_check' ORDER BY rowid")
    return rows.fetchall()


def test_every_row_comes_once_also_over_a_new_start(log: Log, tmp_path: Path) -> None:
    now = log.clock.wall()
    for _ in range(2):
        with closing(Memory(tmp_path / "m.db")) as memory:
            follower = Follower(log.path, memory)
            assert follower.catch_up(now, most=100) is True
            assert follower.catch_up(now, most=100) is True
            assert actions(memory) == ["chain_open", *["tool_call"] * 9]
    log.fill(1)
    log.project()
    with closing(Memory(tmp_path / "m.db")) as memory:
        Follower(log.path, memory).catch_up(now, most=100)
        assert len(actions(memory)) == 11


def test_a_long_past_is_read_in_parts(log: Log, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "BATCH", 4)
    follower = Follower(log.path, memory)
    assert follower.catch_up(log.clock.wall(), most=8) is False
    assert len(actions(memory)) == 8
    assert follower.catch_up(log.clock.wall(), most=8) is True
    assert len(actions(memory)) == 10


def test_a_memory_without_a_past_begins_where_it_must(
    log: Log, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Follower(log.path, memory)
    late.catch_up(log.clock.wall() + 40 * DAY, most=100)
    assert actions(memory) == []
    monkeypatch.setattr(follow, "FARTHEST", 3)
    late.catch_up(log.clock.wall(), most=100)
    assert len(actions(memory)) == 3


def test_another_log_begins_anew(log: Log, memory: Memory, tmp_path: Path) -> None:
    Follower(log.path, memory).catch_up(log.clock.wall(), most=100)
    short = Log(tmp_path / "other")
    short.fill(2)
    short.project()
    short.release()
    Follower(short.path, memory).catch_up(short.clock.wall(), most=100)
    assert actions(memory) == ["chain_open", "tool_call", "tool_call"]


@pytest.mark.parametrize(
    ("statement", "reasons"),
    [
        ("UPDATE audit_log SET entry = replace(entry, 'acme', 'evil') WHERE seq = 5", {"hash_mismatch"}),
        ("UPDATE audit_log SET decision = 'deny' WHERE seq = 5", {"column_mismatch"}),
        ("UPDATE audit_log SET entry = x'00', hash = lower(hex(zeroblob(32))) WHERE seq = 5",
         {"hash_mismatch", "link_mismatch"}),
        ("UPDATE audit_log SET reason = CAST(x'ff' AS TEXT), latency_ms = 'x' WHERE seq = 5",
         {"column_mismatch"}),
        ("DELETE FROM audit_log WHERE seq = 5", {"sequence_gap"}),
        ("DELETE FROM audit_log WHERE seq = 10", {"sequence_gap"}),
    ],
)  # fmt: skip
def test_a_change_to_an_old_row_is_found(log: Log, memory: Memory, statement: str, reasons: set[str]) -> None:
    follower = Follower(log.path, memory)
    now = log.clock.wall()
    follower.catch_up(now, most=100)
    follower.recheck(now)
    assert defects(memory) == []
    log.tamper(statement)
    follower.recheck(now)
    assert {reason for reason, _ in defects(memory)} == reasons
    memory.clear()
    assert Follower(log.path, memory).catch_up(now, most=100) is True


def test_a_row_that_hashes_to_what_it_says_but_is_no_entry(log: Log, memory: Memory) -> None:
    forged = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    log.tamper("UPDATE audit_log SET entry = x'00', hash = ? WHERE seq = 10", parameters=(forged,))
    follower = Follower(log.path, memory)
    follower.catch_up(log.clock.wall(), most=100)
    assert [reason for reason, _ in defects(memory)] == ["hash_mismatch"]


def test_a_pruned_row_keeps_its_place(log: Log, memory: Memory) -> None:
    log.prune(4)
    follower = Follower(log.path, memory)
    follower.catch_up(log.clock.wall(), most=100)
    follower.recheck(log.clock.wall())
    assert (defects(memory), len(actions(memory))) == ([], 9)


def test_a_defect_is_said_again_after_an_hour(
    log: Log, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(log.path, memory)
    found = [Defect(reason="disk_low", component="disk")]
    for later in (0, 15, 3590, 3601):
        follower.check(found, 1000.0 + later)
    assert len(defects(memory)) == 2
    monkeypatch.setattr(follow, "MOST_SAID", 1)
    follower.check([Defect(reason="spool_waiting", component="c")], 9000.0)
    assert len(defects(memory)) == 3


def test_rechecking_goes_round(log: Log, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RECHECKED", 4)
    follower = Follower(log.path, memory)
    follower.catch_up(log.clock.wall(), most=100)
    places: list[int] = []
    for _ in range(4):
        follower.recheck(log.clock.wall())
        places.append(memory.standing("rechecked"))
    assert places == [4, 8, 0, 4]
    assert follower.heads() == {log.uid: 10}


def test_without_a_log_there_is_an_error(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        Follower(tmp_path / "none.db", memory).catch_up(0.0, most=1)
