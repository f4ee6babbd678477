"""Runs verification over a database file and, where it is at hand, the journals that it was filled from.

The journal's newest segment is never removed, so the newest rows are held against it as well: a second copy
on the same host, which whoever rewrites the database has to rewrite too.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from airlock.audit import database, journal, rows
from airlock.audit.entry import entry_hash
from airlock.audit.tail import held
from airlock.audit.verify import NOT_PROVEN, Exit, Finding, Findings, Walk
from airlock.audit.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from airlock.audit.journal import Record

SCOPE = (
    "L1 (links, hashes) and L2 (columns, personal values, tenant counters) were checked. "
    "No checkpoints are configured: L3-L5 (root, signatures, witnesses, time) were not."
)

_PROGRESS_EVERY = 1000
_RANGES = 10
"""Ranges of skeletons that one line names."""

_COMPARED = 500
"""Journal records held against the database at a time."""


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was walked of one chain."""

    chain_uid: str
    rows: int
    first_seq: int
    last_seq: int
    skeletons: int
    findings: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. `finding_count` may exceed the findings that are listed."""

    exit: Exit
    scope: str = SCOPE
    rows: int
    journal_records: int
    chains: list[ChainReport]
    findings: list[Finding]
    finding_count: int
    unproven: list[str]
    """What was asked for and could not be checked: makes the exit code 3 where nothing contradicts."""
    notes: list[str]
    not_proven: list[str]


class Inspection:
    """One verification. `progress` is told how many rows were checked since it was told before."""

    def __init__(
        self,
        path: Path,
        *,
        journals: Path | None = None,
        chain: str | None = None,
        since: str | None = None,
        unproven: Iterable[str] = (),
        progress: Callable[[int], None],
    ) -> None:
        self._path = path
        self._journals = journals
        self._chain = chain
        self._since = since
        self._progress = progress
        self._found = Findings()
        self._unproven = list(unproven)
        self._notes: list[str] = []
        self._chains: list[ChainReport] = []
        self._compared = 0

    def run(self) -> Report:
        """Raises `sqlite3.Error` or `OSError` where no audit database can be read."""
        with closing(database.open_reader(self._path)) as db:
            # 1. The database: its schema, every chain row by row, and what no chain leads to.
            self._whole(db)
            # 2. What the journals still hold.
            if self._journals is not None:
                self._against_journals(db, self._journals)
        return self._report()

    def _whole(self, db: sqlite3.Connection) -> None:
        try:
            self._schema(db)
            known = {*database.chain_rows(db), *database.chains_with_rows(db)}
            for uid in sorted(known, key=str):
                if self._chain in (None, uid):
                    self._walk(db, uid)
            if self._chain is None and self._since is None:
                self._outside(db)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                raise
            what = "the database file is damaged: what lies behind the damage could not be checked"
            self._found.add(Finding(code="V-PAGE", chain_uid="", what=what, seen=str(error)))
        if not self._chains:
            self._unproven.append("there is no chain to check: an empty log proves nothing")

    def _schema(self, db: sqlite3.Connection) -> None:
        for kind, name, how in database.altered(db):
            if (kind, how) == ("trigger", "missing"):
                self._notes.append(f"trigger {name} is missing: somebody removed the guard against accidents")
            elif kind == "index" or (kind == "table" and how == "added"):
                self._notes.append(f"{kind} {name} is {how}")
            else:
                what = f"{kind} {name} is {how}: what operators' SQL shows is not what is stored"
                self._found.add(Finding(code="V-SCHEMA", chain_uid="", what=what))

    def _walk(self, db: sqlite3.Connection, uid: str) -> None:
        first = 1 if self._since is None else database.first_since(db, uid, self._since)
        if first is None:
            return
        before = self._found.count
        walk = Walk(
            uid, self._found, first=first, predecessor=lambda digest: database.seq_of(db, uid, digest)
        )
        start = None if self._since is None else first
        while True:
            reached = walk.last_seq if walk.rows else None
            for row in database.walk(db, uid, start):
                if reached is not None and not isinstance(row[2], int):
                    break  # A `seq` that is no number sorts last: it was met, and named, the first time.
                walk.step(row)
                if walk.rows % _PROGRESS_EVERY == 0:
                    self._progress(_PROGRESS_EVERY)
            # A live projector may have added rows behind the last page: follow until the head stands still.
            line = database.chain_rows(db).get(uid)
            start = walk.last_seq + 1
            if line is None or line.head_seq <= walk.last_seq or walk.last_seq == reached:
                break
        self._progress(walk.rows % _PROGRESS_EVERY)
        walk.finish(line)
        if walk.pruned:
            self._unproven.append(_unexplained(walk))
        self._chains.append(
            ChainReport(
                chain_uid=str(uid),
                rows=walk.rows,
                first_seq=first,
                last_seq=walk.last_seq,
                skeletons=walk.skeletons,
                findings=self._found.count - before,
            )
        )

    def _outside(self, db: sqlite3.Connection) -> None:
        """Rows that no walk along the chains meets."""
        hidden = database.hidden(db)
        if hidden:
            what = "rows of the table are missing from its index: they hide from searches"
            self._found.add(Finding(code="V-FORK", chain_uid="", what=what, expected="0", seen=str(hidden)))
        for n in database.orphans(db):
            what = f"personal row {n} belongs to no record"
            self._found.add(Finding(code="V-PERSONAL", chain_uid="", what=what))

    def _against_journals(self, db: sqlite3.Connection, journals: Path) -> None:
        for directory in journal.chains(journals):
            if self._chain in (None, directory.name):
                self._against_journal(db, directory)

    def _against_journal(self, db: sqlite3.Connection, directory: Path) -> None:
        until = None if held(directory) is False else journal.durable(directory)
        records = journal.history(directory, until=until)
        previous: str | None = None
        try:
            while batch := self._take(directory.name, records):
                previous = self._compare(db, directory.name, batch, previous)
        except rows.Unreadable as error:
            self._journal_finding(directory.name, None, "a journal record is no entry", "", str(error))
        except FileNotFoundError:
            self._notes.append(
                f"journal of {directory.name}: a projected segment was removed while it was read"
            )

    def _take(self, uid: str, records: Iterator[Record]) -> list[Record]:
        """The next records; what is whole in front of damage is compared too."""
        batch: list[Record] = []
        try:
            batch.extend(islice(records, _COMPARED))
        except journal.JournalDamaged as damage:
            self._journal_finding(uid, None, "the journal is damaged", "", damage.detail)
        return batch

    def _compare(self, db: sqlite3.Connection, uid: str, batch: list[Record], previous: str | None) -> str:
        """Hold journal records against each other and against their rows; the hash of the last."""
        found = db.execute(
            "SELECT seq, hash, entry IS NULL FROM audit_log WHERE chain_uid = ? AND seq BETWEEN ? AND ?",
            (uid, batch[0].seq, batch[-1].seq),
        )
        stored: dict[int, tuple[str, int]] = {seq: (digest, pruned) for seq, digest, pruned in found}
        for record in batch:
            computed = entry_hash(record.entry)
            seen, pruned = stored.get(record.seq, (computed, 0))
            if seen != computed:
                what = "the row is not the record that the journal holds"
                self._journal_finding(uid, record.seq, what, computed, seen)
            entry = rows.read(record.entry)
            if pruned:
                what = "the row has no entry, but the journal still holds its record"
                held_there = f"{entry.action} {entry.decision or entry.phase}, id {entry.id}"
                self._journal_finding(uid, record.seq, what, visible(held_there), "a skeleton")
            named = entry.previous_hash
            if previous is not None and named != previous:
                self._journal_finding(uid, record.seq, "the record does not link", previous, named)
            previous = computed
        self._compared += len(batch)
        return entry_hash(batch[-1].entry)

    def _journal_finding(self, uid: str, seq: int | None, what: str, expected: str, seen: str | None) -> None:
        self._found.add(
            Finding(code="V-JOURNAL", chain_uid=uid, seq=seq, what=what, expected=expected, seen=str(seen))
        )

    def _report(self) -> Report:
        not_proven = list(NOT_PROVEN)
        if self._since is not None:
            not_proven.append(f"Rows before {self._since} were not checked, nor the first link after it.")
        if self._chain is not None:
            not_proven.append("Chains other than the one asked for were not checked.")
        if self._journals is None:
            not_proven.append("The journal was not at hand: records that are not in the database yet.")
        skeletons = sum(chain.skeletons for chain in self._chains)
        if skeletons:
            not_proven.append(
                f"{skeletons} rows are skeletons: their links hold, their content and who removed it "
                "are not shown."
            )
        clean = Exit.UNPROVEN if self._unproven else Exit.PROVEN
        return Report(
            exit=Exit.TAMPERED if self._found.count else clean,
            rows=sum(chain.rows for chain in self._chains),
            journal_records=self._compared,
            chains=self._chains,
            findings=self._found.listed,
            finding_count=self._found.count,
            unproven=self._unproven,
            notes=self._notes,
            not_proven=not_proven,
        )


def _unexplained(walk: Walk) -> str:
    """Skeletons of a chain. No record of retention is written yet, so none explains them."""
    ranges = [f"{first}..{last}" for first, last in walk.pruned[:_RANGES]]
    more = ", ..." if len(walk.pruned) > _RANGES else ""
    return (
        f"chain {walk.chain_uid}: rows {', '.join(ranges)}{more} are skeletons that no retention record "
        f"explains ({walk.skeletons} in all)"
    )
