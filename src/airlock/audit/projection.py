"""Journals into `audit.db`, one pass after another: what is durable by now, and nothing twice.

- Only records after the head are inserted. A row that was deleted below it stays missing: verification
  finds it, nothing heals it in silence.
- A record that contradicts the database stops its chain, and is reported; other chains go on.
- A segment is unlinked once every record of it is in the database file itself, past its write-ahead log.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airlock.audit import database, journal
from airlock.audit.batch import ChainRefused, store
from airlock.audit.journal import JournalDamaged
from airlock.audit.tail import Tail, held

if TYPE_CHECKING:
    from pathlib import Path

    from airlock.audit.database import Head
    from airlock.audit.journal import Record
    from airlock.core.clock import Clock

BATCH = 1000
"""Records per transaction: enough to share its cost, few enough to let readers and chains alternate."""

DAMAGED_AFTER = 5.0
"""Seconds until a damaged journal is looked at again."""

STALE_AFTER = 1.0
"""Seconds without a durable record after which a chain is asked whether somebody still writes it."""

UNLINK_EVERY = 5.0
"""Seconds between two attempts to unlink spent segments."""


class _Chain:
    """What is remembered of one chain. `head` is None until the database knows the chain."""

    def __init__(self, directory: Path, head: Head | None) -> None:
        self.uid = directory.name
        self.head = head
        self.tail = Tail(directory, after=head.seq if head else 0)
        self.refused = ""
        self.damage = ""
        self.looked_at = -STALE_AFTER


class Projection:
    """One pass after another over all journals of a data directory. The caller is `alone` there."""

    def __init__(self, data_dir: Path, *, clock: Clock) -> None:
        self.path = data_dir / "audit.db"
        self.projected = 0
        self.lag = 0.0
        self.notices: list[str] = []
        self._journal = data_dir / "journal"
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._chains: dict[str, _Chain] = {}
        self._unlinked_at = clock.monotonic()

    @property
    def refused(self) -> dict[str, str]:
        """Chains that are projected no further, and why."""
        stopped = {chain.uid: chain.refused or chain.damage for chain in self._chains.values()}
        return {uid: why for uid, why in stopped.items() if why}

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def poll(self) -> int:
        """Project what is durable by now, at most a batch of each chain; the number of records.

        Raises `sqlite3.Error` or `OSError`: nothing of the failed batch is stored, a later poll repeats it.
        """
        # 1. The database that is there now, not one that was deleted meanwhile.
        db = self._database()
        # 2. Every chain that has a journal.
        for directory in journal.chains(self._journal):
            if directory.name not in self._chains:
                self._chains[directory.name] = _Chain(directory, database.heads(db).get(directory.name))
        # 3. A batch of each, in one transaction per chain.
        done = sum(self._advance(db, chain) for chain in self._chains.values() if not chain.refused)
        # 4. Segments that nobody needs any more.
        if self._clock.monotonic() - self._unlinked_at >= UNLINK_EVERY:
            self.unlink()
        return done

    def unlink(self) -> int:
        """Remove segments whose records are all in the database file; the number removed."""
        self._unlinked_at = self._clock.monotonic()
        db = self._database()
        spent = [
            segment
            for chain in self._chains.values()
            if chain.head is not None and not chain.refused and not chain.damage
            for segment, first, last in chain.tail.spent(chain.head.seq)
            if self._complete(db, chain, first, last)
        ]
        if not spent:
            return 0
        busy, logged, folded = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if busy or logged != folded:
            return 0  # A reader still needs the write-ahead log: the records are not in the file yet.
        for segment in spent:
            segment.unlink(missing_ok=True)
        return len(spent)

    def _complete(self, db: sqlite3.Connection, chain: _Chain, first: int, last: int) -> bool:
        """Whether each of these records is still a row: a journal that shows a deletion is evidence."""
        left: int = db.execute(
            "SELECT COUNT(*) FROM audit_log WHERE chain_uid = ? AND seq BETWEEN ? AND ?",
            (chain.uid, first, last),
        ).fetchone()[0]
        if left != last - first + 1:
            chain.refused = f"of the rows {first} to {last} only {left} are left; their journal is kept"
        return not chain.refused

    def _database(self) -> sqlite3.Connection:
        if self._db is not None and self._file != _identity(self.path):
            self.notices.append("audit.db was deleted or replaced: going on from what the file there holds")
            self.close()
        if self._db is None:
            self._chains.clear()
            self._db = database.open_writer(self.path)
            self._file = _identity(self.path)
        return self._db

    def _advance(self, db: sqlite3.Connection, chain: _Chain) -> int:
        before = chain.tail.seq
        batch = self._take(chain)
        if not batch:
            return 0
        try:
            stored = store(db, chain.uid, chain.head, batch)
        except ChainRefused as error:
            chain.refused = str(error)
            return 0
        except BaseException:
            chain.tail.rewind(before)
            raise
        chain.head, chain.refused = stored.head, stored.defect
        self.lag = max(self.lag, self._age(stored.oldest))
        self.notices += [stored.notice] if stored.notice else []
        self.projected += stored.count
        return stored.count

    def _take(self, chain: _Chain) -> list[Record]:
        """The next durable records."""
        batch: list[Record] = []
        until = self._limit(chain)
        if until is not None and until <= chain.tail.seq:
            return batch
        chain.damage = ""
        try:
            for record in chain.tail.records(until):
                batch.append(record)
                if len(batch) == BATCH:
                    break
        except JournalDamaged as damage:
            chain.damage = damage.detail
        return batch

    def _limit(self, chain: _Chain) -> int | None:
        """How far a chain may be read: to its durable watermark, or to its end where nobody writes it.

        A damaged chain is looked at again: after a loss of power the watermark is wrong until recovery.
        """
        durable = journal.durable(chain.tail.chain)
        if durable > chain.tail.seq and not chain.damage:
            return durable
        now = self._clock.monotonic()
        if now - chain.looked_at < (DAMAGED_AFTER if chain.damage else STALE_AFTER):
            return chain.tail.seq
        chain.looked_at = now
        if held(chain.tail.chain) is not False:
            return durable
        if not chain.tail.grown() and not chain.damage:
            return chain.tail.seq
        chain.tail.flush()
        return None

    def _age(self, timestamp: str) -> float:
        return max(
            0.0, self._clock.wall() - datetime.fromisoformat(timestamp).replace(tzinfo=UTC).timestamp()
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino)
