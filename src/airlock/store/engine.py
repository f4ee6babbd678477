"""Connections to the control data: one SQLite file that several processes share, or a database behind a URL.

SQLite runs in WAL mode and flushes every commit: what was acknowledged is there after a power loss. The
driver's own transaction handling is switched off, because it begins late; a transaction that will write says
so at once, so two writers queue instead of failing half-way.
"""

from __future__ import annotations

import os
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url

BUSY_MS = 5000
"""Wait for another process's transaction; ours take milliseconds."""

_WRITES = {"airlock_writes": True}


def connect(target: URL) -> Engine:
    """An engine; nothing is opened yet. Its errors never repeat values: those name people."""
    engine = create_engine(target, hide_parameters=True)
    if target.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def locate(where: Path | str) -> tuple[URL, Path | None]:
    """The URL of a path or URL, and the SQLite file behind it, if there is one."""
    if isinstance(where, str) and "://" in where:
        url = make_url(where)
    else:
        url = URL.create("sqlite", database=str(where))
    return url, Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def make_private(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives the same rights to the files it puts beside it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def writing(engine: Engine) -> Engine:
    """The same engine for transactions that write."""
    return engine.execution_options(**_WRITES)


def _prepare(connection: SqliteConnection, _record: object) -> None:
    connection.isolation_level = None
    for setting in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}").close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("airlock_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
