"""`airlock incident render|scope|watch` and `airlock report`, on the files of a gateway that is not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from airlock.cli import report
from airlock.cli.incident import documents
from airlock.incident.render import words
from airlock.model.incident import SYSTEM_ACTOR, IncidentEvent
from airlock.store import incidents
from airlock.store.database import Store, open_store
from tests.audit.conftest import Log, call
from tests.incident import records
from tests.incident.records import ID
from tests.system.deployment import free_port

Run = Callable[..., Result]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "data")
    made.fill(5)
    made.append(call(9, decision="error", reason="upstream_unavailable", phase="outcome"))
    yield made
    made.release()


@pytest.fixture
def store(log: Log) -> Iterator[Store]:
    opened = open_store(log.data_dir / "sark.db")
    yield opened
    opened.close()


@pytest.fixture
def run(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("INCIDENT_ID", raising=False)
    config = tmp_path / "airlock.yaml"
    config.write_text(yaml.safe_dump({"data_dir": str(log.data_dir), "server": {"port": free_port()}}))
    app = typer.Typer()
    for verb in (documents.render, documents.scope, documents.watch):
        app.command(verb.__name__)(verb)
    app.add_typer(report.app, name="report")

    def ask(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--config", str(config)])

    return ask


def opened(store: Store, log: Log, **more: object) -> None:
    now = log.clock.wall()
    began = {"opened_at": now - 60, "detected_at": now - 60, "clocks_from": now - 60}
    incident = msgspec.structs.replace(records.empty().incident, **began, **more)
    event = IncidentEvent(kind="detected", at=now, occurred_at=now, actor=SYSTEM_ACTOR, summary="Found")
    incidents.create(store, incident, [event])


@pytest.mark.parametrize(
    ("what", "first"),
    [
        ("notification", f"Subject: [P1] MCP Airlock Incident - {ID}"),
        ("team", f"\U0001f6a8 MCP Airlock Incident - {ID}"),
        ("update", f"Subject: [UPDATE] MCP Airlock Incident - {ID}"),
        ("report", f"# Incident Report: {ID}"),
        ("timeline", f"# Incident Timeline: {ID}"),
        ("rca", f"# Root Cause Analysis: {ID}"),
        ("breach", f"# Data Breach Report: {ID}"),
        ("review", f"# Post-Incident Review: {ID}"),
    ],
)
def test_a_document_is_printed(run: Run, store: Store, log: Log, what: str, first: str) -> None:
    opened(store, log)
    done = run("render", what, ID)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == first


def test_a_document_has_figures_of_the_log(run: Run, store: Store, log: Log) -> None:
    opened(store, log)
    assert "Affected Users: 1 by the log (user-0) in 1 tenant" in run("render", "report").stdout


def test_for_programs_it_has_its_digest(run: Run, store: Store, log: Log) -> None:
    opened(store, log)
    notice = json.loads(run("render", "update", ID, "--json").stdout)
    assert len(notice["sha256"]) == 64
    assert json.loads(run("render", "review", ID, "--json").stdout)["name"] == f"pir-{ID}.md"


def test_which_incident_is_meant_is_asked_where_it_is_not_clear(
    run: Run, store: Store, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("render", "report").exit_code == 2
    opened(store, log)
    opened(store, log, id="INC-20261122-210701")
    assert "say which incident" in run("render", "report").stderr
    monkeypatch.setenv("INCIDENT_ID", ID)
    assert run("render", "report").exit_code == 0


def test_an_unknown_incident_is_refused(run: Run, store: Store) -> None:
    for verb in (("render", "report"), ("scope",), ("watch",)):
        done = run(*verb, "INC-20261122-000000")
        assert done.exit_code == 1
        assert "There is no incident" in done.stderr


def test_without_a_store_nothing_can_be_read(run: Run, log: Log) -> None:
    done = run("watch")
    assert done.exit_code == 2
    assert "no gateway ever ran" in done.stderr


def test_the_scope_is_whom_it_affects_and_what_was_reached(run: Run, store: Store, log: Log) -> None:
    opened(store, log)
    text = run("scope").stdout
    assert "Users whose calls failed" in text
    assert "subject user-0  tenant acme  failed 1" in text
    assert "confirmed: 0" in text
    told = json.loads(run("scope", "--json").stdout)
    assert told["impact"][0]["rows"][0]["subject"] == "user-0"
    assert told["exposure"]["counts"] == {"confirmed": 0, "possible": 0, "prevented": 0}
    assert len(told["source"]["digest"]) == 64


def test_the_page_for_the_night_needs_no_gateway(run: Run, store: Store, log: Log) -> None:
    assert "No incident is open." in run("watch").stdout
    opened(store, log)
    done = run("watch")
    assert done.exit_code == 0
    assert "gateway: DOWN" in done.stdout
    assert f"P1 (High) INVESTIGATING {ID}: Unknown trouble" in done.stdout
    assert json.loads(run("watch", ID, "--json").stdout)["incidents"][0]["id"] == ID


def test_what_is_overdue_is_an_exit_code(run: Run, store: Store, log: Log) -> None:
    opened(store, log, acknowledged_at=None, deadlines={"response": log.clock.wall() - 30})
    done = run("watch", "--for", "0.1s", "--every", "0.1s")
    assert done.exit_code == 1
    assert "OVERDUE" in done.stdout
    assert done.stdout.count("gateway:") >= 2


@pytest.mark.parametrize("words", [("watch", "--for", "soon"), ("report", "compliance", "--since", "ever")])
def test_a_duration_that_is_none_is_refused(run: Run, store: Store, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert "a duration looks like" in done.stderr


def test_a_report_for_auditors_names_its_questions(run: Run, store: Store, log: Log) -> None:
    done = run("report", "compliance", "--since", "2h", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == told["exit"]
    assert [each["query"] for each in told["answers"]] == [
        "hours", "denials", "fail_open", "unapproved_tools", "gaps",
    ]  # fmt: skip
    assert all(len(each["digest"]) == 64 for each in told["answers"])
    text = run("report", "compliance").stdout
    assert "Events of every hour, hours without any included (hours, sha256 " in text
    assert f"... and {25 - documents.ROWS} more" in text or "... and" in text


def test_a_long_answer_is_cut_and_an_empty_one_says_none() -> None:
    from airlock.incident.questions import Answered, answered

    empty = Answered(query="calls", title="Calls", since="", until="")
    many = answered(empty, ("n",), [(n,) for n in range(30)], sql="")
    assert documents.answer_lines(many)[-1] == "  ... and 10 more: --json shows them"
    assert documents.answer_lines(answered(empty, ("n",), [], sql=""))[-1] == "  none"
    failed = msgspec.structs.replace(empty, problem="no such table")
    assert documents.answer_lines(failed) == ["Calls (calls)", "  not known: no such table"]
    assert words.UNKNOWN not in documents.answer_lines(failed)
