"""The database file: how it is made, and that rows are laid out as the schema says."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from airlock.audit import database
from airlock.audit.database import Head
from airlock.audit.rows import COLUMNS, LINK

if TYPE_CHECKING:
    from pathlib import Path

    from tests.audit.conftest import Log


def test_the_directory_and_the_file_belong_to_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "audit.db"
    database.open_writer(path).close()
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)]
    assert modes == [0o700, 0o600]


def test_the_writer_keeps_what_was_deleted_off_the_disk_and_readers_apart(tmp_path: Path) -> None:
    with closing(database.open_writer(tmp_path / "audit.db")) as db:
        pragmas = ("journal_mode", "secure_delete", "foreign_keys", "synchronous", "busy_timeout")
        assert [db.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == ["wal", 1, 1, 1, 5000]


def test_the_table_is_in_the_order_in_which_rows_are_inserted(tmp_path: Path) -> None:
    with closing(database.open_writer(tmp_path / "audit.db")) as db:
        names = tuple(row[1] for row in db.execute("PRAGMA table_info(audit_log)"))
    assert names == LINK + COLUMNS


def test_no_column_of_the_view_captures_an_operators_alias(tmp_path: Path) -> None:
    with closing(database.open_writer(tmp_path / "audit.db")) as db:
        names = {row[1] for row in db.execute("PRAGMA table_info(audit_events)")}
    assert names.isdisjoint({"hour", "source_ip", "attempts"})


def test_the_sqlite3_program_takes_the_schema(tmp_path: Path) -> None:
    made = subprocess.run(
        ["sqlite3", str(tmp_path / "x.db")],
        input=database.schema(),
        text=True,
        capture_output=True,
        check=True,
    )
    assert made.stderr == ""


def test_a_second_opening_changes_nothing(log: Log) -> None:
    database.open_writer(log.path).close()
    with closing(database.open_reader(log.path)) as db:
        assert database.heads(db) == {log.uid: Head(10, log.chain.hash)}
        assert database.altered(db) == []


def test_a_reader_cannot_write(log: Log) -> None:
    with closing(database.open_reader(log.path)) as db, pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM audit_personal")


def test_a_missing_database_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        database.open_reader(tmp_path / "audit.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("statement", ["DELETE FROM audit_log", "UPDATE audit_log SET decision = 'allow'"])
def test_triggers_stop_accidents(log: Log, statement: str) -> None:
    with closing(sqlite3.connect(log.path)) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(statement)


def test_a_copy_is_read_where_it_lies(log: Log, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    subprocess.run(["sqlite3", str(log.path), f".backup {copy}"], check=True)
    with closing(database.open_reader(copy)) as db:
        assert database.heads(db) == {log.uid: Head(10, log.chain.hash)}


def test_a_long_chain_is_walked_in_pages(log: Log) -> None:
    with closing(database.open_reader(log.path)) as db:
        assert [row[2] for row in database.walk(db, log.uid, page=3)] == list(range(1, 11))
        assert [row[2] for row in database.walk(db, log.uid, 8, page=3)] == [8, 9, 10]
