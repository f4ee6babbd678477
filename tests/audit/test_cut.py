"""Journals and database copied while they are written: they fit together, and no copy extends a chain."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airlock.audit import cut as cutting
from airlock.audit import journal
from airlock.audit.cut import cut
from airlock.audit.entry import entry_hash
from airlock.audit.inspection import Inspection, Report
from airlock.audit.journal import JournalDamaged
from airlock.audit.projection import Projection
from airlock.audit.recovery import open_log, retire
from airlock.audit.spool import NAME as SPOOL
from airlock.core import archive
from airlock.core.archive import End, Manifest, Packing
from airlock.core.clock import SYSTEM
from airlock.core.config import AuditSection
from tests.audit.conftest import HandClock, Log, call
from tests.audit.writing_parts import FACTS, Lines, outcome

MADE_AT = "2026-11-22T13:00:00Z"
SETTINGS: dict[str, Any] = {"audit": AuditSection(segment_size=65536), "facts": FACTS, "clock": SYSTEM}


class Copy:
    """A log's cut, restored into a directory of its own."""

    def __init__(self, log: Log, folder: Path) -> None:
        file, scratch = folder / "backup.tar", folder / "scratch"
        scratch.mkdir()
        with archive.packing(file) as pack:
            self.ends: list[End] = cut(log.data_dir, pack, scratch=scratch, made_at=MADE_AT)
            pack.finish(
                Manifest(
                    format=archive.FORMAT, version="1", made_at=MADE_AT, chains=self.ends, files=pack.files
                )
            )
        assert list(scratch.iterdir()) == []
        self.data_dir = folder / "copy"
        archive.unpack(file, archive.examine(file), self.data_dir)
        self.chain = self.data_dir / "journal" / log.uid

    def verify(self) -> Report:
        with closing(Projection(self.data_dir, clock=HandClock())) as projection:
            while projection.poll():
                pass
            assert projection.refused == {}
        journals = self.data_dir / "journal"
        return Inspection(self.data_dir / "audit.db", journals=journals, progress=lambda _: None).run()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.data_dir / "audit.db")) as db:
            return db.execute(sql).fetchall()

    def start(self) -> str:
        """What a worker does first; the chain that it writes."""
        writer = open_log(data_dir=self.data_dir, workers=1, log=Lines(), **SETTINGS)
        writer.start()
        writer.close()
        return writer.chain_uid

    def openings(self) -> dict[str, tuple[str, str, str]]:
        """Predecessor, severity and reason of the first entry, by chain."""
        assert self.verify().exit == 0
        sql = (
            "SELECT chain_uid, json_extract(metadata, '$.predecessor'), severity, reason FROM audit_log"
            " WHERE action = 'chain_open'"
        )
        return {uid: (predecessor, severity, reason) for uid, predecessor, severity, reason in self.rows(sql)}


@pytest.fixture
def log(new_log: Callable[..., Log]) -> Log:
    made = new_log()
    made.fill(9)
    assert made.project() == {}
    return made


def test_a_log_that_is_written_is_copied_up_to_its_last_durable_record(log: Log, tmp_path: Path) -> None:
    log.append(call(10))
    log.append(call(11), publish=False)
    copy = Copy(log, tmp_path)
    last = list(journal.history(copy.chain))[-1]
    assert [(end.chain_uid, end.seq) for end in copy.ends] == [(log.uid, 11)]
    assert (last.seq, entry_hash(last.entry)) == (11, copy.ends[0].hash)
    assert journal.durable(copy.chain) == 11
    assert copy.rows("SELECT MAX(seq) FROM audit_log") == [(10,)]
    assert (copy.verify().exit, copy.verify().rows) == (0, 11)


def test_every_segment_is_in_it(log: Log, tmp_path: Path) -> None:
    log.roll()
    log.append(call(10))
    log.roll()
    copy = Copy(log, tmp_path)
    assert [journal.first_seq(each.name) for each in journal.segments(copy.chain)] == [1, 11]
    assert [record.seq for record in journal.history(copy.chain)] == list(range(1, 12))


def test_what_was_projected_and_unlinked_before_is_in_the_database(log: Log, tmp_path: Path) -> None:
    log.roll()
    log.append(call(10))
    with closing(Projection(log.data_dir, clock=log.clock)) as projection:
        while projection.poll():
            pass
        assert projection.unlink() == 1
    copy = Copy(log, tmp_path)
    assert [record.seq for record in journal.history(copy.chain)] == [11]
    assert (copy.verify().exit, copy.verify().rows) == (0, 11)


def test_nothing_that_the_cut_does_not_see_is_unlinked_meanwhile(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records come, are projected, and their segment is spent: between the database's view and the copy."""
    unlinked: list[int] = []
    chains = journal.chains

    def meanwhile(journals: Path) -> list[Path]:
        monkeypatch.setattr(cutting.journal, "chains", chains)
        log.append(call(10))
        log.roll()
        log.append(call(11))
        with closing(Projection(log.data_dir, clock=log.clock)) as projection:
            while projection.poll():
                pass
            unlinked.append(projection.unlink())
        return chains(journals)

    monkeypatch.setattr(cutting.journal, "chains", meanwhile)
    copy = Copy(log, tmp_path)
    assert unlinked == [0]
    assert copy.rows("SELECT MAX(seq) FROM audit_log") == [(10,)]
    assert (copy.verify().exit, copy.verify().rows) == (0, 12)


def test_a_segment_that_goes_while_it_is_copied_was_in_the_database(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (10, 11):
        log.roll()
        log.append(call(number))
    assert log.project() == {}
    copied = Packing.add

    def unlinking(self: Packing, name: str, stream: Any, size: int) -> None:
        copied(self, name, stream, size)
        if name.endswith(journal.SUFFIX):
            journal.segments(log.journals / log.uid)[0].unlink()

    monkeypatch.setattr(Packing, "add", unlinking)
    copy = Copy(log, tmp_path)
    monkeypatch.undo()
    assert [record.seq for record in journal.history(copy.chain)] == [11, 12]
    assert (copy.verify().exit, copy.verify().rows) == (0, 12)


def test_the_torn_end_of_a_process_that_died_stays_behind(log: Log, tmp_path: Path) -> None:
    log.release()
    (segment,) = journal.segments(log.journals / log.uid)
    with segment.open("ab") as stream:
        stream.write(journal.mark(11) + b"torn")
    copy = Copy(log, tmp_path)
    assert [end.seq for end in copy.ends] == [10]
    assert copy.verify().exit == 0


def test_a_segment_that_was_begun_and_never_written_stays_behind(log: Log, tmp_path: Path) -> None:
    log.roll()
    log.release()
    copy = Copy(log, tmp_path)
    assert [journal.first_seq(each.name) for each in journal.segments(copy.chain)] == [1]
    assert [end.seq for end in copy.ends] == [10]


def test_a_chain_without_a_record_is_left_out(new_log: Callable[..., Log], log: Log, tmp_path: Path) -> None:
    empty = log.journals / "0192aaaa-0000-7000-8000-000000000001"
    empty.mkdir()
    assert [end.chain_uid for end in Copy(log, tmp_path).ends] == [log.uid]


def test_a_damaged_journal_is_not_backed_up_in_silence(log: Log, tmp_path: Path) -> None:
    (segment,) = journal.segments(log.journals / log.uid)
    raw = bytearray(segment.read_bytes())
    raw[400] ^= 1
    segment.write_bytes(raw)
    with pytest.raises(JournalDamaged):
        Copy(log, tmp_path)
    assert not (tmp_path / "backup.tar").exists()


def test_a_journal_that_lost_what_was_durable_is_named(log: Log, tmp_path: Path) -> None:
    log.directory.publish(12)
    with pytest.raises(JournalDamaged, match="before record 12"):
        Copy(log, tmp_path)


def test_the_next_start_continues_a_restored_chain_in_a_new_one(log: Log, tmp_path: Path) -> None:
    log.append(call(10))
    copy = Copy(log, tmp_path)
    (end,) = copy.ends
    successor = copy.start()
    predecessor, severity, reason = copy.openings()[successor]
    assert json.loads(predecessor) == {"chain_uid": log.uid, "seq": 11, "hash": end.hash}
    assert (severity, reason) == ("CRITICAL", f"chain_abandoned: restored from a backup made at {MADE_AT}")
    assert [record.seq for record in journal.history(copy.chain)][-1] == 11
    closed = copy.rows(f"SELECT closed_at IS NOT NULL FROM audit_chains WHERE chain_uid = '{log.uid}'")  # noqa: S608
    assert closed == [(1,)]


def test_the_start_after_that_goes_on_with_the_new_chain(log: Log, tmp_path: Path) -> None:
    copy = Copy(log, tmp_path)
    assert copy.start() == copy.start() != log.uid


def test_two_copies_of_one_backup_never_write_one_chain(log: Log, tmp_path: Path) -> None:
    copy = Copy(log, tmp_path)
    shutil.copytree(copy.data_dir, tmp_path / "second")
    first = copy.start()
    copy.data_dir = tmp_path / "second"
    assert len({first, copy.start(), log.uid}) == 3


def test_fewer_workers_after_a_restore_close_the_rest_in_new_chains(
    log: Log, new_log: Callable[..., Log], tmp_path: Path
) -> None:
    new_log().fill(1)
    copy = Copy(log, tmp_path)
    retire(data_dir=copy.data_dir, workers=1, log=Lines(), **SETTINGS)
    first, second, successor = _chains(copy)
    assert [(each / journal.CLOSED).exists() for each in (first, second, successor)] == [False, True, True]
    predecessor, _, _ = copy.openings()[successor.name]
    assert json.loads(predecessor)["chain_uid"] == second.name


def _chains(copy: Copy) -> list[Path]:
    return journal.chains(copy.data_dir / "journal")


def test_a_closed_chain_comes_back_closed(log: Log, tmp_path: Path) -> None:
    (log.journals / log.uid / journal.CLOSED).write_text("retired")
    copy = Copy(log, tmp_path)
    assert sorted(path.name for path in copy.chain.iterdir() if path.suffix != ".seg") == [
        "closed",
        "durable",
    ]
    copy.start()
    assert len(_chains(copy)) == 2


def test_outcomes_that_wait_in_the_spool_are_recorded_after_a_restore(log: Log, tmp_path: Path) -> None:
    sealed = asyncio.run(_foreign(tmp_path / "other"))
    (log.journals / log.uid / SPOOL).write_bytes(journal.frame(*sealed) + bytes(5000))
    copy = Copy(log, tmp_path)
    assert (copy.chain / SPOOL).stat().st_size == len(journal.frame(*sealed))
    successor = copy.start()
    copy.openings()
    late = copy.rows("SELECT chain_uid FROM audit_log WHERE json_extract(metadata, '$.late')")
    assert late == [(successor,)]


async def _foreign(data_dir: Path) -> tuple[bytes, bytes]:
    """An outcome as a writer seals it."""
    writer = open_log(data_dir=data_dir, workers=1, log=Lines(), **SETTINGS)
    writer.start()
    await writer.seal(outcome(77))
    writer.close()
    (chain,) = journal.chains(data_dir / "journal")
    return next((each.entry, each.personal) for each in journal.history(chain) if b"req-77" in each.entry)
