"""A log as the product writes it: real chain, real journal on disk, real projection into SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from airlock.audit.append import Appender
from airlock.audit.chain import Chain, Sealed, Stamp
from airlock.audit.files import LocalVolume
from airlock.audit.inspection import Inspection, Report
from airlock.audit.projection import Projection
from airlock.core.clock import SYSTEM, timestamp
from airlock.core.ids import uuid7
from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TRIGGERS = ("audit_log_no_delete", "audit_log_no_update")

SKELETON = """UPDATE audit_log SET entry = NULL, event_type = NULL, phase = NULL, occurred_at = NULL,
correlation_id = NULL, request_id = NULL, tenant = NULL, tenant_seq = NULL, action = NULL, resource = NULL,
server_id = NULL, tool_name = NULL, definition_digest = NULL, policy_revision = NULL, decision = NULL,
reason = NULL, severity = NULL, latency_ms = NULL, redaction_count = NULL, metadata = NULL WHERE seq = ?"""


class HandClock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = SYSTEM.wall()
        self.ticks = 1000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.ticks

    def forward(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds


class Log:
    """One data directory with one chain that this test writes."""

    def __init__(self, data_dir: Path, *, segment_size: int = 64 * 1024) -> None:
        self.data_dir = data_dir
        self.path = data_dir / "audit.db"
        self.journals = data_dir / "journal"
        self.clock = HandClock()
        self.uid = uuid7()
        self.directory = LocalVolume(self.journals).directory(self.uid)
        self.chain = Chain(uid=self.uid)
        self._appender = Appender(directory=self.directory, segment_size=segment_size)
        assert self.directory.lock()

    def append(self, *events: Event, publish: bool = True) -> list[Sealed]:
        """One durable batch; without `publish` nobody is told that it is."""
        draft = self.chain.draft()
        for event in events:
            stamp = Stamp(timestamp=timestamp(self.clock.wall()), id=uuid7(), salt=bytes(range(32)))
            draft.append(event, stamp)
        self._appender.append(self.chain, draft)
        self.chain.accept(draft)
        if publish:
            self.directory.publish(self.chain.seq)
        return draft.sealed

    def fill(self, rows: int, **fields: Any) -> None:
        """A `chain_open`, if there is none yet, then that many calls."""
        if self.chain.seq == 0:
            self.append(
                Event(
                    event_type="system",
                    action="chain_open",
                    metadata={"version": "test", "origin": f"test/{self.uid}"},
                )
            )
        for number in range(rows):
            self.append(call(number, **fields))

    def roll(self) -> None:
        """Finish the segment and begin another."""
        self._appender.roll(self.chain)

    def release(self) -> None:
        """The writing process is gone."""
        self._appender.close()
        self.directory.close()

    def project(self) -> dict[str, str]:
        """Bring the database up to date; the chains that are not projected, and why."""
        with closing(Projection(self.data_dir, clock=self.clock)) as projection:
            while projection.poll():
                pass
            return projection.refused

    def verify(self, *, journals: bool = False, **options: Any) -> Report:
        journal = self.journals if journals else None
        return Inspection(self.path, journals=journal, progress=lambda _: None, **options).run()

    def tamper(self, *statements: str, parameters: tuple[object, ...] = ()) -> None:
        """What somebody does who may write the file: triggers, checks and references do not stop him."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            kept = [
                db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
                for name in TRIGGERS
            ]
            for name in TRIGGERS:
                db.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                db.execute(statement, parameters if "?" in statement else ())
            for sql in kept:
                db.execute(sql)

    def prune(self, seq: int) -> None:
        """The one change that the triggers allow: a row loses its content."""
        with closing(sqlite3.connect(self.path)) as db, db:
            db.execute("DELETE FROM audit_personal WHERE n = ?", (seq,))
            db.execute(SKELETON, (seq,))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(sql).fetchall()


def call(number: int, **fields: Any) -> Event:
    """A tool call, allowed unless said otherwise."""
    values: dict[str, Any] = {
        "event_type": "call",
        "action": "tool_call",
        "resource": "mcp://files/read",
        "server_id": "files",
        "tool_name": "read",
        "request_id": f"request-{number}",
        "correlation_id": f"request-{number}",
        "tenant": "acme",
        "decision": "allow",
        "reason": "allowed",
        "latency_ms": 5,
        "metadata": {"method": "tools/call"},
        "personal": Personal(
            subject=f"user-{number % 3}",
            source_ip="203.0.113.7",
            arguments=b'{"path":"/a"}',
            user_agent="curl",
        ),
    }
    return Event(**{**values, **fields})


@pytest.fixture
def new_log(tmp_path: Path) -> Iterator[Callable[..., Log]]:
    made: list[Log] = []

    def make(name: str = "data", **options: Any) -> Log:
        made.append(Log(tmp_path / name, **options))
        return made[-1]

    yield make
    for log in made:
        log.release()


@pytest.fixture
def log(new_log: Callable[..., Log]) -> Log:
    """An opening and nine calls, projected."""
    made = new_log()
    made.fill(9)
    assert made.project() == {}
    return made
