"""Opening the control data, and what a transaction promises."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, text

from airlock.core.errors import Fault
from airlock.store import changes, migrate, revocations
from airlock.store.database import SCHEMA, Store, open_store
from airlock.store.schema import metadata, pins
from airlock.store.schema import revocations as revocation_table


def refusal(where: Path | str) -> str:
    with pytest.raises(Fault) as fault:
        open_store(where)
    assert (fault.value.code, fault.value.reason) == (50302, "control_unavailable")
    assert str(where) not in fault.value.text
    return fault.value.detail


def test_a_new_store_is_empty_and_its_owners_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data" / "sark.db")
    assert store.versions().items() >= {"pins": 1, "revocations": 1, "sessions": 1, "leases": 0}.items()
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "data").iterdir()}
    assert set(modes.values()) == {0o600}
    assert "sark.db" in modes
    store.close()


def test_a_file_that_others_could_read_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "sark.db").touch(0o644)
    open_store(tmp_path / "sark.db").close()
    assert (tmp_path / "sark.db").stat().st_mode & 0o777 == 0o600


def test_a_url_names_the_same_store_as_its_path(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sark.db")
    revocations.revoke_token(store, token_id="j", reason="x", now=1.0)
    same = open_store(f"sqlite:///{tmp_path}/sark.db")
    assert same.versions() == store.versions()
    store.close()
    same.close()


def test_control_data_is_flushed_at_every_commit_and_waits_for_others(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sark.db")
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with store.read() as connection:
        found = {name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    store.close()


def test_the_migrations_make_the_tables_that_the_program_uses(store: Store) -> None:
    with store.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []
    assert migrate.newest() == SCHEMA


def test_a_transaction_that_fails_leaves_nothing_and_announces_nothing(store: Store) -> None:
    before = store.versions()

    def fail() -> None:
        with store.change("revocations") as change:
            change.connection.execute(text("INSERT INTO revocations VALUES ('token', 'j', 'x', 1.0, NULL)"))
            change.announce()
            raise KeyError("ours")

    with pytest.raises(KeyError):
        fail()
    assert store.versions() == before
    assert revocations.load(store, now=1.0).token_ids == frozenset()


def test_a_change_is_announced_once_however_often_it_is_said(store: Store, other: Store) -> None:
    with store.change("pins") as change:
        change.announce()
        change.announce()
    assert other.versions()["pins"] == 2


def test_the_table_itself_keeps_a_tool_from_having_two_pins(store: Store) -> None:
    row = {"server": "s", "tenant": "", "tool": "t", "definition": "{}", "state": "pinned", "first_seen": 1.0}

    def pin_two() -> None:
        with store.change("pins") as change:
            change.connection.execute(insert(pins), [row | {"digest": "a"}, row | {"digest": "b"}])

    with pytest.raises(Fault) as fault:
        pin_two()
    assert "unique" in fault.value.detail.lower()


def test_writers_of_one_part_run_one_after_the_other(location: Path | str, store: Store) -> None:
    def revoke(worker: int) -> None:
        mine = open_store(location)
        for number in range(10):
            revocations.revoke_token(mine, token_id=f"{worker}-{number}", reason="x", now=1.0)
        mine.close()

    threads = [threading.Thread(target=revoke, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.versions()["revocations"] == 41
    assert len(revocations.load(store, now=1.0).token_ids) == 40


def test_a_reader_does_not_wait_for_a_writer(store: Store, other: Store) -> None:
    with store.change("pins") as change:
        change.announce()
        assert other.versions()["pins"] == 1
    assert other.versions()["pins"] == 2


def test_another_process_notices_within_a_second(store: Store, location: Path | str) -> None:
    program = (
        "import sys\n"
        "from airlock.store.database import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "while store.versions()['revocations'] == 1: pass\n"
        "print('seen', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(location)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        revocations.revoke_token(store, token_id="j", reason="x", now=1.0)
        acknowledged = time.monotonic()
        assert process.stdout.readline() == "seen\n"
        assert time.monotonic() - acknowledged < 1.0


def test_processes_that_open_a_new_store_at_once_all_get_it(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from airlock.store.database import open_store\n"
        "print(open_store(sys.argv[1]).versions()['pins'])\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "data" / "sark.db")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    assert [process.communicate() for process in running] == [("1\n", "")] * 4


def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "sark.db"
    open_store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert refusal(path) == f"{path} has schema 9999, made by a newer Airlock; this one knows {SCHEMA}"


def test_a_migration_that_was_cut_short_left_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "sark.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE ended_sessions (sid TEXT)")
    connection.close()
    assert "ended_sessions already exists" in refusal(path)
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    assert names == [("ended_sessions",)]


@pytest.mark.parametrize("damage", ["no database", "torn pages"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "sark.db"
    open_store(path).close()
    content = path.read_bytes()
    if damage == "no database":
        path.write_bytes(b"something else entirely, longer than a header would be" * 100)
    else:
        path.write_bytes(content[:4096] + b"\xff" * 8192 + content[12288:])
    before = path.read_bytes()
    assert str(path) in refusal(path)
    assert path.read_bytes() == before


def test_a_directory_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "sark.db") in refusal(tmp_path / "file" / "sark.db")


def test_a_store_that_fails_while_running_says_so(store: Store) -> None:
    def ask() -> None:
        with store.read() as connection:
            connection.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(Fault) as fault:
        ask()
    assert fault.value.reason == "control_unavailable"
    assert fault.value.text == "The control data cannot be used."


def test_a_failure_never_repeats_the_values_of_a_statement(store: Store) -> None:
    def insert_twice() -> None:
        with store.change("revocations") as change:
            statement = insert(revocation_table)
            row = {"kind": "token", "value": "the-jti", "reason": "x", "at": 1.0}
            change.connection.execute(statement, [row, row])

    with pytest.raises(Fault) as fault:
        insert_twice()
    assert "the-jti" not in str(fault.value)
    assert "\n" not in str(fault.value)


def test_versions_are_one_query(store: Store) -> None:
    with store.read() as connection:
        assert changes.versions(connection) == store.versions()
