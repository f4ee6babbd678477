"""`airlock audit analyze`, `export` and `storage` as an operator runs them."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from airlock.model.entry import Event, Personal
from tests.audit.conftest import Log
from tests.cli.test_audit import run

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "evil\x1b[2J[bold]"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A log with 25 refused tokens, and a caller who is not what he pretends to be."""
    written = Log(tmp_path / "data")
    written.fill(2)
    for _ in range(25):
        personal = Personal(subject=HOSTILE, source_ip="203.0.113.7")
        written.append(Event(event_type="auth", action="token_validate", decision="deny", personal=personal))
    written.project()
    written.release()
    return tmp_path / "data"


def test_attempts_are_counted_and_an_alarm_is_exit_one(data_dir: Path) -> None:
    done = run("analyze", "--data-dir", str(data_dir), "--decision", "DENY", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["exit"], told["attempts"]) == (1, 1, 25)
    assert told["alarming"][0]["values"]["source_ip"] == "203.0.113.7"
    quiet = run("analyze", "--data-dir", str(data_dir), "--alarm", "26")
    assert quiet.exit_code == 0
    assert "25 denied" in quiet.stdout
    shown = run("analyze", "--data-dir", str(data_dir)).stdout
    assert "1 groups need a look" in shown
    assert "\x1b" not in shown
    assert run("analyze", "--data-dir", str(data_dir), "--class", "privilege_escalation").exit_code == 0


def test_an_exported_file_is_counted_without_a_gateway(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.csv"
    done = run("export", "--data-dir", str(data_dir), "--since", "2h", "--all-replicas", "--out", str(out))
    assert (done.exit_code, out.stat().st_mode & 0o777) == (0, 0o600)
    assert done.stdout.startswith("28 rows, SHA-256 ")
    again = run("analyze", str(out), "--group", "source_ip", "--since", "2h", "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["alarming"][0]["denied"] == 25


def test_rows_go_to_standard_output_and_what_they_are_to_the_other(data_dir: Path) -> None:
    done = run("export", "--data-dir", str(data_dir), "--decision", "deny")
    assert len(list(csv.DictReader(io.StringIO(done.stdout, newline="")))) == 25
    assert done.stderr.startswith("25 rows, SHA-256 ")
    lines = run("export", "--data-dir", str(data_dir), "--format", "jsonl").stdout.splitlines()
    assert json.loads(lines[-1])["subject"] == HOSTILE


def test_a_prepared_database_is_asked_at_once(data_dir: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "analysis.db"
    done = run("export", "--data-dir", str(data_dir), "--sqlite", str(prepared), "--json")
    assert json.loads(done.stdout)["rows"] == 28
    with closing(sqlite3.connect(prepared)) as db:
        [count] = db.execute("SELECT COUNT(*) FROM audit_events WHERE decision = 'deny'").fetchone()
    assert count == 25


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("analyze", "--group", "salary"), "cannot group by salary"),
        (("analyze", "--since", "yesterday"), "not a duration"),
        (("analyze", "nowhere.csv"), "nowhere.csv"),
        (("export", "--out", "{there}"), "exists: nothing is overwritten"),
        (("export", "--sqlite", "{there}"), "exists: nothing is overwritten"),
        (("export", "--out", "a", "--sqlite", "b"), "one file at a time"),
        (("export", "--json"), "name a file"),
        (("export", "--out", "{there}/below"), "Not a directory"),
        (("storage", "--data-dir", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_done_says_why_and_leaves_files_alone(
    data_dir: Path, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    given = [argument.replace("{there}", str(there)) for argument in arguments]
    if "--data-dir" not in given:
        given += ["--data-dir", str(data_dir)]
    done = run(*given)
    assert done.exit_code == 2
    assert why in done.stderr
    assert there.read_text() == "mine"


def test_half_a_file_is_taken_away(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.csv"
    done = run("export", "--db", str(tmp_path / "none.db"), "--out", str(out))
    assert (done.exit_code, out.exists()) == (2, False)
    assert run("export", "--data-dir", str(data_dir), "--out", str(out)).exit_code == 0


def test_room_is_told(data_dir: Path) -> None:
    done = run("storage", "--data-dir", str(data_dir))
    assert "growth is not known: the log is younger than an hour" in done.stdout
    told = json.loads(run("storage", "--data-dir", str(data_dir), "--json").stdout)
    assert told["rows"] == 28
    assert told["exit"] == done.exit_code
