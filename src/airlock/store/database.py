"""Opening the control data, and the two kinds of transactions on it.

Opening is safe while other processes open the same file: a lock beside it admits one at a time. A file that
is damaged, or written by a newer Airlock, is refused by name; nothing is repaired or dropped on its own.
Open after forking: connections do not survive a fork. Never on the request path: these calls block.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from airlock.core.errors import Fault, Stage
from airlock.store import changes, engine

SCHEMA = "0006"
"""The migration that this program needs; the newest one in `migrations`."""

FILE = "sark.db"
"""Name of the SQLite file in the data directory."""


class Store:
    """Open control data of one process, for several threads. Raises `Fault` (50302) when it fails."""

    def __init__(self, connected: Engine, name: str) -> None:
        self._engine = connected
        self._writing = engine.writing(connected)
        self._name = name

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A transaction that only reads."""
        with _translated(self._name), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def change(self, part: str) -> Generator[changes.Change]:
        """One transaction on a part: all of it is durable afterwards, or nothing of it happened."""
        with _translated(self._name), self._writing.begin() as connection:
            yield changes.Change(connection, part)

    def versions(self) -> dict[str, int]:
        """The version of every part, for polling."""
        with self.read() as connection:
            return changes.versions(connection)

    def close(self) -> None:
        self._engine.dispose()


def open_store(where: Path | str) -> Store:
    """Open the control data in a file (a path) or a database (a URL), at the schema of this program.

    1 the file exists and is the owner's alone
    2 one process at a time: it is a whole database
    3 and at our schema, which takes effect as a whole or not at all

    Raises `Fault` that names the file.
    """
    url, path = engine.locate(where)
    name = str(path) if path is not None else url.render_as_string(hide_password=True)
    connected = engine.connect(url)
    try:
        with _translated(name):
            if path is None:
                _migrate(connected, name)
            else:
                engine.make_private(path)  # 1
                with _alone(path.with_name(path.name + ".lock")):
                    _check(connected, name)  # 2
                    _migrate(connected, name)  # 3
    except Fault:
        connected.dispose()
        raise
    return Store(connected, name)


@contextmanager
def _alone(path: Path) -> Generator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # also releases the lock


def _check(connected: Engine, name: str) -> None:
    with connected.begin() as connection:
        answer = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    if answer != "ok":
        raise _unusable(f"{name} is damaged: {answer}")


def _migrate(connected: Engine, name: str) -> None:
    with engine.writing(connected).begin() as connection:
        found = _schema(connection)
        if found == SCHEMA:
            return
        from airlock.store import migrate

        if not migrate.knows(found):
            raise _unusable(f"{name} has schema {found}, made by a newer Airlock; this one knows {SCHEMA}")
        migrate.upgrade(connection)


def _schema(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def _translated(name: str) -> Generator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as failed:
        raise _unusable(f"{name}: {str(failed).partition(chr(10))[0]}") from failed


def _unusable(detail: str) -> Fault:
    return Fault(Stage.ADMIT, 50302, "control_unavailable", "The control data cannot be used.", detail=detail)
