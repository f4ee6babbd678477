"""`airlock audit` as an operator runs it: exit codes, readable answers, JSON."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import structlog
from typer.testing import CliRunner, Result

from airlock.audit.occurrences import Facts
from airlock.audit.projector import alone
from airlock.audit.recovery import open_log
from airlock.cli.audit import app
from airlock.core.clock import SYSTEM
from airlock.core.config import AuditSection
from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "evil\x1b[2J[bold]"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


async def seal(data_dir: Path, *events: Event) -> None:
    """Events sealed by a whole writer, which then ends in order."""
    writer = open_log(
        data_dir=data_dir,
        audit=AuditSection(segment_size=65536),
        workers=1,
        facts=Facts(origin="test/audit", host="h", version="v", configuration_digest="c"),
        clock=SYSTEM,
        log=structlog.get_logger(),
    )
    writer.start()
    try:
        for event in events:
            await writer.seal(event)
    finally:
        writer.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    events = [
        Event(
            event_type="call",
            action="tool_call",
            decision=decision,
            reason=HOSTILE,
            tenant="acme",
            correlation_id=f"call-{decision}",
            personal=Personal(subject=HOSTILE, source_ip="203.0.113.7"),
        )
        for decision in ("allow", "deny", "deny")
    ]
    asyncio.run(seal(tmp_path / "data", *events))
    return tmp_path / "data"


def tamper(data_dir: Path, statement: str) -> None:
    run("verify", "--data-dir", str(data_dir))
    with closing(sqlite3.connect(data_dir / "audit.db")) as db, db:
        for trigger in ("audit_log_no_update", "audit_log_no_delete"):
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute(statement)


def test_a_log_that_nobody_touched_verifies_and_says_what_that_does_not_prove(data_dir: Path) -> None:
    done = run("verify", "--data-dir", str(data_dir))
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert "No checkpoints are configured" in lines[0]
    assert lines[1].startswith("No contradiction: 6 rows in 1 chains, 6 journal records")
    assert "Not proven" in lines


def test_an_edited_row_is_named(data_dir: Path) -> None:
    tamper(data_dir, "UPDATE audit_log SET decision = 'allow' WHERE decision = 'deny' AND seq = 4")
    done = run("verify", "--data-dir", str(data_dir))
    assert done.exit_code == 1
    assert "V-COLUMN" in done.stdout
    assert "seq 4" in done.stdout
    assert "expected deny, seen allow" in done.stdout


def test_a_deleted_row_is_named_in_json(data_dir: Path) -> None:
    tamper(data_dir, "DELETE FROM audit_log WHERE seq = 4")
    done = run("verify", "--data-dir", str(data_dir), "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["exit"]) == (1, 1)
    assert {finding["code"] for finding in report["findings"]} == {"V-LINK", "V-PERSONAL"}
    assert report["not_proven"]


def test_a_database_by_itself_is_verified(data_dir: Path) -> None:
    run("verify", "--data-dir", str(data_dir))
    done = run("verify", "--db", str(data_dir / "audit.db"), "--since", "1h")
    assert done.exit_code == 0
    assert "The journal was not at hand" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--db", "nowhere.db"),
        ("verify", "--data-dir", "nowhere"),
        ("verify", "--since", "yesterday", "--data-dir", "nowhere"),
        ("gaps", "--data-dir", "nowhere"),
        ("query", "SELECT 1", "--data-dir", "nowhere"),
        ("verify", "--config", "nowhere.yaml"),
        ("query",),
        ("query", "SELECT 1", "--name", "recent"),
        ("query", "SELECT 1", "--since", "1h"),
        ("query", "--name", "nothing"),
    ],
)
def test_what_cannot_run_exits_2(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert (done.exit_code, bool(done.stderr)) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_projector_that_does_not_follow_leaves_the_answer_unproven(data_dir: Path) -> None:
    run("verify", "--data-dir", str(data_dir))
    asyncio.run(seal(data_dir, Event(event_type="system", action="heartbeat")))
    with alone(data_dir):
        done = run("query", "--name", "recent", "--data-dir", str(data_dir), "--json")
    assert done.exit_code == 3
    assert "projected up to 6" in done.stderr


def test_no_gap(data_dir: Path) -> None:
    done = run("gaps", "--data-dir", str(data_dir))
    assert (done.exit_code, done.stdout) == (0, "No gap\n")


def test_gaps_are_listed_with_cause_and_next_step(data_dir: Path) -> None:
    tamper(data_dir, "DELETE FROM audit_log WHERE seq = 4")
    done = run("gaps", "--data-dir", str(data_dir))
    assert done.exit_code == 1
    assert "seq 4 to 4" in done.stdout
    assert "next: airlock audit verify" in done.stdout
    as_json = json.loads(run("gaps", "--data-dir", str(data_dir), "--json").stdout)
    assert as_json["gaps"][0]["check"] == "seq"


def test_what_nobody_can_tell_exits_3(data_dir: Path) -> None:
    run("verify", "--data-dir", str(data_dir))
    done = run("gaps", "--db", str(data_dir / "audit.db"))
    assert (done.exit_code, "cannot tell" in done.stdout) == (3, True)


def test_denials_by_name(data_dir: Path) -> None:
    done = run("query", "--name", "denials", "--data-dir", str(data_dir), "--json")
    assert done.exit_code == 0
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["attempts"], row["source_ip"], row["subject"]) == (2, "203.0.113.7", HOSTILE)


def test_rows_by_criteria_in_csv(data_dir: Path) -> None:
    arguments = ("query", "--decision", "DENY", "--severity", "low", "--since", "1h", "--csv")
    lines = run(*arguments, "--data-dir", str(data_dir)).stdout.splitlines()
    assert (lines[0].split(",")[:2], len(lines)) == (["id", "timestamp"], 3)


def test_a_table_never_obeys_what_a_row_holds(data_dir: Path) -> None:
    done = run(
        "query", "SELECT subject FROM audit_events WHERE decision = 'allow'", "--data-dir", str(data_dir)
    )
    assert "evil\\x1b[2J[bold]" in done.stdout
    assert "\x1b" not in done.stdout


def test_an_answer_that_was_cut_says_so(data_dir: Path) -> None:
    done = run("query", "SELECT seq FROM audit_log", "--limit", "2", "--data-dir", str(data_dir))
    assert "2 rows, there are more" in done.stdout


def test_writing_is_refused(data_dir: Path) -> None:
    done = run("query", "DELETE FROM audit_personal", "--data-dir", str(data_dir))
    assert (done.exit_code, "not authorized" in done.stderr) == (2, True)


def test_a_refusal_repeats_nothing_that_a_terminal_obeys(data_dir: Path) -> None:
    done = run(
        "query", "SELECT `a\x9b31m\u202e\x1b[31m\nairlock` FROM audit_log", "--data-dir", str(data_dir)
    )
    assert done.exit_code == 2
    assert "a\\x9b31m\\u202e\\x1b[31m\\nairlock" in done.stderr


def test_json_spells_out_what_a_terminal_obeys(data_dir: Path) -> None:
    sql = "SELECT char(155) || char(8238) || char(233) AS x"
    done = run("query", sql, "--json", "--data-dir", str(data_dir))
    assert '{"x":"\\u009b\\u202e\u00e9"}' in done.stdout
    assert json.loads(done.stdout)["rows"] == [{"x": "\x9b\u202e\u00e9"}]


def test_a_question_that_takes_all_memory_exits_2(data_dir: Path) -> None:
    run("verify", "--data-dir", str(data_dir))
    bounded = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (500 << 20, 500 << 20));"
        "from airlock.cli.audit import app; app()"
    )
    sql = "SELECT " + ", ".join(["printf('%16000000d', 1)"] * 100)
    command = [sys.executable, "-c", bounded, "query", sql, "--db", str(data_dir / "audit.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "airlock audit: the question takes more memory than there is\n",
    )


def test_prepared_questions_are_listed() -> None:
    assert "denials" in run("query", "--name", "list").stdout


def test_more_findings_than_are_listed_are_counted(data_dir: Path) -> None:
    events = [Event(event_type="system", action="heartbeat") for _ in range(2)]
    asyncio.run(seal(data_dir, *events))
    tamper(data_dir, "UPDATE audit_chains SET head_hash = NULL, predecessor = NULL")
    assert run("verify", "--data-dir", str(data_dir)).exit_code == 1
