"""The engine follows the audit log: each row that is projected goes through the rules that act at once.

- The log is the event stream: no detector stands in the way of a request, and none can lose a row. Where the
  reader stands is noted in the transaction of what it found, so a crash repeats nothing and forgets nothing.
- It starts warm: rows of the last hour fill the windows again, and only what lies behind the noted place is
  told.
- A log that was replaced is read from its own last minutes on.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec

from airlock.app.alerting import Alerting
from airlock.audit import database
from airlock.core.clock import Clock, timestamp
from airlock.core.errors import Fault
from airlock.incident.detect import catalogue, facts, links, windows
from airlock.incident.detect.inline import Detectors
from airlock.incident.detect.principals import Principals
from airlock.model.detection import Settings
from airlock.model.incident import Finding
from airlock.store import cursors, leases, rule_settings
from airlock.store.changes import INCIDENTS
from airlock.store.cursors import DETECT, Cursor
from airlock.store.database import Store

BATCH = 1000
"""Rows of one reading: the log is not held longer than they take."""

IDLE = 0.1
"""Seconds between two looks at a log that has nothing more."""

NOTE_EVERY = 5.0
"""Seconds after which the place is noted where nothing was found."""

SETTINGS_EVERY = 1.0
"""Seconds between two looks at what operators set."""

BACKOFF = 1.0
"""Seconds until a log or store that cannot be read is tried again."""

AHEAD = 60.0
"""Seconds that the clock of whoever wrote a row may be ahead of ours."""

WARM = 3600.0
"""Seconds of the log that fill the windows at the start: the longest window of a rule fits."""

MOST_WARM = 200_000
"""Rows of them at most."""

FIRST = 600.0
"""Seconds of the log that are judged where no place was ever noted."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Read(msgspec.Struct, frozen=True):
    """One reading: the last row number, how many rows, and what was found."""

    n: int
    rows: int
    findings: list[Finding]


class Detecting:
    """The follower. It has one thread of its own, to which its connection belongs."""

    def __init__(self, *, data: Path, store: Store, alerting: Alerting, clock: Clock, log: Logger) -> None:
        self._path = data / "audit.db"
        self._store = store
        self._alerting = alerting
        self._clock = clock
        self._log = log
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._n = self._told = 0
        self._noted_at = float("-inf")
        self._settings: Settings = {}
        self._version = -1
        self._look_at = float("-inf")
        self.trouble = ""
        """What is wrong, while it is tried again; empty: nothing."""
        self._waiting: Read | None = None
        """What was read and could not be handed over yet."""
        self._fresh()

    def _fresh(self) -> None:
        self._principals = Principals()
        self._detectors = Detectors(catalogue.rules(), self._thresholds)
        self._alerting.keyless = self._detectors.keyless.holds
        self._alerting.active = lambda: self._principals.active(self._clock.wall())

    def _thresholds(self, rule: str, tenant: str) -> dict[str, float]:
        return windows.thresholds(catalogue.rules()[rule], self._settings, tenant)

    async def run(self) -> None:
        """Follow until cancelled."""
        caught_up = False
        try:
            while True:
                try:
                    wait = await self.step()
                    if not caught_up:  # what the log says of the world is known by now
                        await self._alerting.catch_up()
                        caught_up = True
                    self.trouble = "" if self._db is not None else "there is no audit.db"
                except (Fault, sqlite3.Error, OSError) as failed:
                    self._failed(failed)
                    wait = BACKOFF
                await asyncio.sleep(wait)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the log."""
        await self._in_thread(self._close)
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    async def step(self) -> float:
        """Read once, and hand over what was found; the seconds until the next time."""
        if self._waiting is None:
            self._waiting = await self._in_thread(self._read)
        read = self._waiting
        if read is None:
            return BACKOFF
        now = self._clock.monotonic()
        if read.findings or now - self._noted_at >= NOTE_EVERY:
            keyless = dict(self._detectors.keyless.failing)
            place = Cursor(n=max(read.n, self._told), at=self._clock.wall(), keyless=keyless)
            await self._alerting.found(read.findings, (DETECT, place))
            self._noted_at = now
        self._waiting, self._told = None, max(read.n, self._told)
        return 0.0 if read.rows >= BATCH else IDLE

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="detect")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _read(self) -> Read | None:
        """The next rows through the rules; None while there is no log."""
        db = self._database()
        if db is None:
            return None
        self._follow_settings()
        rows = db.execute(facts.SELECT, (self._n, BATCH)).fetchall()
        findings: list[Finding] = []
        latest = self._clock.wall() + AHEAD
        for row in rows:
            self._n = row[0]
            found = self._seen(row, latest)
            if row[0] > self._told:
                findings += found
        return Read(self._n, len(rows), findings)

    def _seen(self, row: Sequence[Any], latest: float) -> list[Finding]:
        """What one row makes known. One that a rule breaks at is said and left: it must not blind the others.
        A time that is still to come would keep windows from moving on until then."""
        try:
            fact = facts.fact(row)
            if fact is None:
                return []
            fact.seen.at = min(fact.seen.at, latest)
            self._principals.note(fact.seen)
            return self._detectors.see(fact)
        except Exception as error:  # noqa: BLE001 - whatever a foreign hand wrote into it
            self._log.error("detection_row_left", row=row[0], detail=repr(error))
            return []

    def _follow_settings(self) -> None:
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + SETTINGS_EVERY
        version = self._store.versions()[INCIDENTS]
        if version != self._version:
            self._settings, self._version = rule_settings.load(self._store), version

    def _database(self) -> sqlite3.Connection | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._close()
            return None
        if self._db is not None and self._file == (found.st_dev, found.st_ino):
            return self._db
        replaced = self._db is not None
        self._close()
        self._db, self._file = database.open_reader(self._path), (found.st_dev, found.st_ino)
        self._db.text_factory = links.tolerant  # a text that is none must not blind the rules
        try:
            self._start(self._db, replaced=replaced)
        except BaseException:
            self._close()
            raise
        return self._db

    def _start(self, db: sqlite3.Connection, *, replaced: bool) -> None:
        """From where to fill the windows, and from where to tell."""
        now = self._clock.wall()
        last: int = db.execute("SELECT COALESCE(MAX(n), 0) FROM audit_log").fetchone()[0]
        noted = None if replaced else cursors.cursor(self._store, DETECT)
        if noted is not None and noted.n <= last:
            self._told = noted.n
        else:
            self._told = _before(db, now - FIRST, last)
        self._n = min(self._told, max(_before(db, now - WARM, last), last - MOST_WARM))
        self._fresh()
        self._detectors.keyless.recall(noted.keyless if noted is not None else {})
        for lease in leases.listing(self._store, now=now):
            self._detectors.evading.know(lease.id, lease.action)
        self._log.info("detection_started", after=self._told, warm_from=self._n)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _failed(self, failed: Exception) -> None:
        if not self.trouble:
            self.trouble = str(failed) or type(failed).__name__
            self._log.error("detection_stale", detail=self.trouble)


def _before(db: sqlite3.Connection, since: float, last: int) -> int:
    """The number of the last row before a moment; `last` where there is none behind it."""
    query = "SELECT n FROM audit_log WHERE timestamp >= ? ORDER BY timestamp LIMIT 1"
    first = db.execute(query, (timestamp(since),)).fetchone()
    return last if first is None else first[0] - 1
