"""Verification over real files: damage to pages and journals, and logs that grow meanwhile."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from airlock.audit import journal
from airlock.audit.inspection import Inspection
from airlock.audit.verify import Exit
from airlock.model.entry import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.audit.conftest import Log


def named(log: Log) -> list[tuple[str, int | None, str]]:
    return [(each.code, each.seq, each.what) for each in log.verify(journals=True).findings]


def damage(segment: Path, old: bytes, new: bytes) -> None:
    content = segment.read_bytes()
    assert old in content
    segment.write_bytes(content.replace(old, new))


def test_a_damaged_page_is_named_and_exits_1(log: Log) -> None:
    log.fill(60)
    log.project()
    with sqlite3.connect(log.path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(log.path.read_bytes())
    page = content.index(log.chain.hash.encode() if log.chain.hash else b"") // size * size
    content[page : page + 64] = b"\xff" * 64
    log.path.write_bytes(content)
    report = log.verify()
    assert ([each.code for each in report.findings][-1], report.exit) == ("V-PAGE", Exit.TAMPERED)


def test_what_is_no_database_cannot_be_verified(log: Log) -> None:
    for path in log.data_dir.glob("audit.db*"):
        path.unlink()
    log.path.write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        log.verify()


def test_an_added_index_is_a_note(log: Log) -> None:
    with sqlite3.connect(log.path) as db:
        db.execute("CREATE INDEX mine ON audit_log (reason)")
    assert (log.verify().exit, log.verify().notes) == (Exit.PROVEN, ["index mine is added"])


def test_an_empty_log_proves_nothing(new_log: Callable[..., Log]) -> None:
    log = new_log("empty")
    log.project()
    report = log.verify(journals=True)
    assert (report.exit, report.unproven) == (
        Exit.UNPROVEN,
        ["there is no chain to check: an empty log proves nothing"],
    )


def test_what_the_caller_could_not_reach_is_unproven(log: Log) -> None:
    assert log.verify(unproven=["behind"]).exit is Exit.UNPROVEN


def test_newer_records_of_the_journal_are_no_finding(log: Log) -> None:
    log.fill(3)
    report = log.verify(journals=True)
    assert (report.exit, report.rows, report.journal_records) == (Exit.PROVEN, 10, 13)


def test_a_torn_end_that_nobody_was_told_of_is_no_finding(log: Log) -> None:
    sealed = log.append(Event(event_type="system", action="heartbeat"), publish=False)[0]
    log.release()
    damage(journal.segments(log.journals / log.uid)[-1], sealed.entry, b"x" * len(sealed.entry))
    assert named(log) == []


def test_a_damaged_journal_is_named(log: Log) -> None:
    damage(journal.segments(log.journals / log.uid)[-1], b"request-3", b"request-X")
    ((code, seq, what),) = named(log)
    assert (code, seq, what) == ("V-JOURNAL", None, "the journal is damaged")
    assert log.verify(journals=True).journal_records == 4


def test_a_skeleton_of_a_record_that_the_journal_still_holds_is_named(log: Log) -> None:
    log.prune(5)
    report = log.verify(journals=True)
    (finding,) = report.findings
    (row_id,) = log.rows("SELECT id FROM audit_log WHERE seq = 5")[0]
    assert (report.exit, finding.code, finding.seq) == (Exit.TAMPERED, "V-JOURNAL", 5)
    assert (finding.expected, finding.seen) == (f"tool_call allow, id {row_id}", "a skeleton")


def test_a_line_names_the_first_ranges_of_skeletons(log: Log) -> None:
    log.fill(20)
    log.project()
    for seq in range(2, 26, 2):
        log.prune(seq)
    (line,) = log.verify().unproven
    assert "rows 2..2, 4..4," in line
    assert "20..20, ... are skeletons" in line
    assert "(12 in all)" in line


def rewrite_record(log: Log, old: bytes, new: bytes) -> None:
    """Change a record of the journal and its checksum with it."""
    segment = journal.segments(log.journals / log.uid)[-1]
    record = next(each for each in journal.history(log.journals / log.uid) if old in each.entry)
    changed = record.entry.replace(old, new)
    assert len(changed) == len(record.entry)
    damage(segment, journal.frame(record.entry, record.personal), journal.frame(changed, record.personal))


def test_a_changed_record_of_the_journal_is_named_beside_its_successor(log: Log) -> None:
    rewrite_record(log, b"request-3", b"request-X")
    assert named(log) == [
        ("V-JOURNAL", 5, "the row is not the record that the journal holds"),
        ("V-JOURNAL", 6, "the record does not link"),
    ]


def test_a_record_that_is_no_entry_is_named(log: Log) -> None:
    rewrite_record(log, b'"action":"tool_call"', b'"action":1234567890 ')
    assert named(log)[-1] == ("V-JOURNAL", None, "a journal record is no entry")


def test_only_the_journal_of_the_chain_asked_for_is_read(log: Log, new_log: Callable[..., Log]) -> None:
    other = new_log()
    other.fill(1)
    log.project()
    assert (log.verify(journals=True, chain=other.uid).rows, log.verify(journals=True).rows) == (2, 12)
    assert log.verify(journals=True, chain=other.uid).journal_records == 2


def test_rows_that_arrive_during_the_walk_are_walked_too(log: Log) -> None:
    log.fill(1200)
    log.project()
    seen = list[int]()

    def grow(rows: int) -> None:
        if not seen:
            log.fill(3)
            log.project()
        seen.append(rows)

    report = Inspection(log.path, journals=None, progress=grow).run()
    assert (report.exit, report.rows, sum(seen)) == (Exit.PROVEN, 1213, 1213)


def test_a_long_journal_is_compared_in_parts(new_log: Callable[..., Log]) -> None:
    log = new_log("long")
    for _ in range(3):
        log.append(*[Event(event_type="system", action="heartbeat") for _ in range(300)])
    log.project()
    assert (log.verify(journals=True).journal_records, named(log)) == (900, [])
