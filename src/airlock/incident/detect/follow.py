"""From the audit log into memory, a batch at a time: rows as they come, and whether their chain holds.

Where memory stands is noted with what it took in. A log that is shorter than that was replaced by another:
memory then begins anew. Whether rows fit together is asked of every new row, and of old ones in turn, so
that a change to a row of last week is found without anybody asking for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from airlock.audit import database
from airlock.core.clock import timestamp
from airlock.incident.detect import links, seen
from airlock.incident.detect.memory import DAY, REMEMBERED, Memory
from airlock.incident.detect.seen import Seen

BATCH = 2000
"""Rows of a transaction: some 0.1 s."""

FARTHEST = 500_000
"""Rows that a memory without a past reads back at most: half a minute of one core."""

RECHECKED = 2000
"""Old rows looked at in each pass."""

REPEATED = 3600.0
"""Seconds after which a defect that is still there is said again."""

MOST_SAID = 10_000


class Follower:
    """Follows one `audit.db`. Every method raises `sqlite3.Error` where that cannot be read."""

    def __init__(self, audit: Path, memory: Memory) -> None:
        self._audit = audit
        self._memory = memory
        self._said: dict[tuple[str, str], float] = {}

    def catch_up(self, now: float, *, most: int) -> bool:
        """Take in at most so many rows; whether that was all there was."""
        with closing(self._open()) as db:
            after = self._beginning(db, now)
            for _ in range(0, most, BATCH):
                rows = db.execute(seen.SELECT, (after, BATCH)).fetchall()
                if not rows:
                    return True
                first, after = after, int(rows[-1][0])
                told = [row for row in map(seen.of_row, rows) if row is not None]
                defects = self._unsaid(links.between(db, first, after), now)
                self._memory.feed([*told, *defects], n=after)
                if len(rows) < BATCH:
                    return True
        return False

    def recheck(self, now: float) -> None:
        """Look at the next of the old rows, and at the ends of all chains."""
        with closing(self._open()) as db:
            known, first = self._memory.standing("n"), self._memory.standing("rechecked")
            last = min(first + RECHECKED, known)
            found = [*links.between(db, first, last), *links.ends(db)]
            self._memory.feed(self._unsaid(found, now), rechecked=0 if last >= known else last)

    def heads(self) -> dict[str, int]:
        """How far each chain is in the database."""
        with closing(self._open()) as db:
            return {uid: head.seq for uid, head in database.heads(db).items()}

    def check(self, found: Iterable[links.Defect], now: float) -> None:
        """Take in what somebody else found of the log."""
        self._memory.feed(self._unsaid(found, now))

    def _open(self) -> sqlite3.Connection:
        db = database.open_reader(self._audit)
        db.text_factory = links.tolerant
        return db

    def _beginning(self, db: sqlite3.Connection, now: float) -> int:
        newest: int = db.execute("SELECT COALESCE(MAX(n), 0) FROM audit_log").fetchone()[0]
        after = self._memory.standing("n")
        if after and after <= newest:
            return after
        if after:
            self._memory.clear()
        since = timestamp(now - REMEMBERED * DAY)
        row = db.execute(
            "SELECT n FROM audit_log WHERE timestamp >= ? ORDER BY timestamp LIMIT 1", (since,)
        ).fetchone()
        return max(0, row[0] - 1 if row else newest, newest - FARTHEST)

    def _unsaid(self, found: Iterable[links.Defect], now: float) -> list[Seen]:
        rows: list[Seen] = []
        for defect in found:
            key = (defect.reason, defect.row or defect.component)
            if now - self._said.get(key, -REPEATED) < REPEATED:
                continue
            if len(self._said) >= MOST_SAID:
                self._said.clear()
            self._said[key] = now
            rows.append(
                Seen(
                    id=defect.row,
                    at=now,
                    event_type="system",
                    action="audit_check",
                    reason=defect.reason,
                    component=defect.component,
                    severity="CRITICAL",
                )
            )
        return rows
