"""What detection remembers of the audit log: its rows of the last hours flat, and what is usual.

A SQLite file beside the log, `detection.db`, or a database in memory for a question over history. All of it
follows from `audit.db`: whoever deletes it loses nothing but the time to read 30 days again. Not safe for
several threads at once.

- `events`: every row of the last two hours, at most `MOST_EVENTS`.
- `hours`: calls, bytes, redactions and slow calls by hour, subject and server, for 30 days.
- `habits`: on which hours of which day a subject was there, for 30 days.
- `uses`: when a subject last used a critical tool.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from airlock.incident.detect.learned import Learned
from airlock.incident.detect.seen import COLUMNS, Seen

HOUR = 3600.0
DAY = 24 * HOUR

KEPT = 2 * HOUR
"""Seconds that rows are kept: twice the longest window of a rule."""

MOST_EVENTS = 200_000
"""Rows kept at most, some 100 MiB. In a busier gateway windows are shorter than rules say: `shortened`."""

REMEMBERED = 30
"""Days of what is usual."""

MOST_HOURS = 2_000_000
"""Lines of `hours`, for the same reason; the oldest go first."""

SLOW_MS = 200
"""Milliseconds above which a call is slow."""

VERSION = 1
"""Of this schema: another one is read anew."""

_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL"}
_DEFINED = ", ".join(f"{name} {_TYPES[type(value)]}" for name, value in (
    (name, getattr(Seen(), name)) for name in COLUMNS
))  # fmt: skip
_SCHEMA = f"""
CREATE TABLE events ({_DEFINED});
CREATE INDEX events_at ON events (at);
CREATE INDEX events_action ON events (action, at);
CREATE INDEX events_decision ON events (decision, at);
CREATE INDEX events_session ON events (session, at) WHERE session <> '';
CREATE INDEX events_token ON events (token, at) WHERE token <> '';
CREATE TABLE hours (hour INTEGER, tenant TEXT, issuer TEXT, subject TEXT, server TEXT, calls INTEGER,
  bytes INTEGER, redactions INTEGER, slow INTEGER, PRIMARY KEY (tenant, issuer, subject, server, hour))
  WITHOUT ROWID;
CREATE INDEX hours_hour ON hours (hour, server);
CREATE TABLE habits (tenant TEXT, issuer TEXT, subject TEXT, day INTEGER, hours INTEGER,
  PRIMARY KEY (tenant, issuer, subject, day)) WITHOUT ROWID;
CREATE TABLE uses (tenant TEXT, issuer TEXT, subject TEXT, server TEXT, tool TEXT, last REAL,
  PRIMARY KEY (tenant, issuer, subject, server, tool)) WITHOUT ROWID;
CREATE TABLE standing (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
_INSERT = f"INSERT INTO events VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 (names of a struct)
_COUNT = (
    "INSERT INTO hours VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET calls = calls +"
    " excluded.calls, bytes = bytes + excluded.bytes, redactions = redactions + excluded.redactions,"
    " slow = slow + excluded.slow"
)


class Memory:
    """Rows go in with `feed`, in the order of the log; rules ask `db`."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a path in memory. Raises `sqlite3.Error` or `OSError`."""
        self.db = _open(path)
        self.learned = Learned(self.db)
        self.shortened = False
        """Whether the last `forget` dropped rows that were younger than `KEPT`."""

    def close(self) -> None:
        self.db.close()

    def standing(self, name: str) -> int:
        """A place that was noted; 0: none was."""
        row = self.db.execute("SELECT value FROM standing WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def feed(self, rows: Sequence[Seen], **places: int) -> None:
        """Take in rows, and note places, in one transaction: after a crash none counts twice."""
        with _transaction(self.db):
            tally: dict[tuple[object, ...], list[int]] = {}
            for row in rows:
                self.learned.enrich(row)
                _add(tally, row)
            self.db.executemany(_INSERT, map(msgspec.structs.astuple, rows))
            self.db.executemany(_COUNT, ((*key, *counts) for key, counts in tally.items()))
            for name, value in places.items():
                self.db.execute("INSERT OR REPLACE INTO standing VALUES (?, ?)", (name, value))

    def clear(self) -> None:
        """Forget everything."""
        with _transaction(self.db):
            for table in ("events", "hours", "habits", "uses", "standing"):
                self.db.execute(f"DELETE FROM {table}")  # noqa: S608 (names of this module)
        self.learned = Learned(self.db)

    def forget(self, now: float) -> None:
        """Drop what is older than it is kept, and what is more than fits."""
        day, hour = int(now // DAY) - REMEMBERED, int(now // HOUR) - REMEMBERED * 24
        with _transaction(self.db):
            self.db.execute("DELETE FROM events WHERE at < ?", (now - KEPT,))
            last: int = self.db.execute("SELECT COALESCE(MAX(rowid), 0) FROM events").fetchone()[0]
            dropped = self.db.execute("DELETE FROM events WHERE rowid <= ?", (last - MOST_EVENTS,))
            self.shortened = dropped.rowcount > 0
            self.db.execute("DELETE FROM hours WHERE hour < ?", (hour,))
            self.db.execute("DELETE FROM habits WHERE day < ?", (day,))
            self.db.execute("DELETE FROM uses WHERE last < ?", (now - 4 * REMEMBERED * DAY,))
            count: int = self.db.execute("SELECT COUNT(*) FROM hours").fetchone()[0]
            if count > MOST_HOURS:
                middle = "SELECT hour FROM hours ORDER BY hour LIMIT 1 OFFSET ?"
                self.db.execute(f"DELETE FROM hours WHERE hour <= ({middle})", (count - MOST_HOURS,))  # noqa: S608


def _add(tally: dict[tuple[object, ...], list[int]], row: Seen) -> None:
    """What a row adds to its hour: calls that were answered, and redactions."""
    call = row.event_type == "call" and row.phase == "outcome" and row.decision == "allow"
    if not call and not row.redactions:
        return
    key = (int(row.at // HOUR), row.tenant, row.issuer, row.subject, row.server)
    counts = tally.setdefault(key, [0, 0, 0, 0])
    counts[0] += int(call)
    counts[1] += row.bytes if call else 0
    counts[2] += row.redactions
    counts[3] += int(call and row.latency_ms > SLOW_MS)


class _transaction:  # noqa: N801 (a context manager reads as a verb)
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def _open(path: Path | None) -> sqlite3.Connection:
    if path is None:
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    else:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # What a crash of the machine takes is read again from the log.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -32768")
        if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                db.execute(f"DROP TABLE {table}")
            db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
    except BaseException:
        db.close()
        raise
    return db
