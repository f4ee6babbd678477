"""`airlock redaction` as an operator runs it: counts, places, canaries. No value is ever printed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import canaries, redaction, redaction_text
from airlock.cli.redaction import app
from airlock.incident.occasion import Occasion
from airlock.incident.opening import open_incident
from airlock.incident.orders import Open
from airlock.model.entry import Event, Personal
from airlock.model.incident import Actor
from airlock.redaction.canary import FORMS
from airlock.redaction.detectors import NAMES
from airlock.redaction.rewrite import Redactor
from airlock.redaction.scan import Scanner
from airlock.store import incidents
from airlock.store.database import FILE, open_store
from tests.cli.admin_api import Answer, gateway
from tests.cli.test_audit import seal
from tests.redaction.made import AWS, EMAIL

TOKEN = {"AIRLOCK_TOKEN": "token"}


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin, env=TOKEN)


def event(tool: str, **detectors: int) -> Event:
    return Event(
        event_type="redaction",
        action="redact_data",
        tenant="acme",
        server_id="notes",
        tool_name=tool,
        redaction_count=sum(detectors.values()),
        metadata={"detectors": detectors},
        personal=Personal(subject="alice"),
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "data"
    other = Event(
        event_type="call", action="tool_call", decision="allow", metadata={"detectors": {"email": 9}}
    )
    asyncio.run(
        seal(folder, event("read", email=2, aws_key=1), event("read", email=3), event("find", ssn=1), other)
    )
    return folder


def test_stats_count_by_detector_and_tool(data_dir: Path) -> None:
    done = run("stats", "--data-dir", str(data_dir))
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert rows == [
        ["5", "2", "email", "notes/read"],
        ["1", "1", "aws_key", "notes/read"],
        ["1", "1", "ssn", "notes/find"],
    ]


def test_stats_are_the_same_in_json_and_from_a_database_alone(data_dir: Path) -> None:
    run("stats", "--data-dir", str(data_dir))
    report = json.loads(run("stats", "--db", str(data_dir / "audit.db"), "--since", "1h", "--json").stdout)
    assert report["since"] == "1h"
    assert report["redactions"][0] == {
        "detector": "email", "server": "notes", "tool": "read", "redactions": 5, "events": 2,
    }  # fmt: skip


def test_stats_of_another_time_are_empty(data_dir: Path) -> None:
    done = run("stats", "--data-dir", str(data_dir), "--since", "2999-01-01")
    assert (done.exit_code, done.stdout) == (0, "nothing was redacted since 2999-01-01\n")


def test_scan_tells_kind_and_place_and_no_value(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(f"first\nGröße: {EMAIL}\n\n  key {AWS} {EMAIL}\n")
    done = run("scan", str(file))
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"{file}:2:8: email",
        f"{file}:4:7: aws_key",
        f"{file}:4:{8 + len(AWS)}: email",
        "1 file, 11 detectors: 2 email, 1 aws_key",
    ]


def test_scan_reads_standard_input_and_speaks_json() -> None:
    done = run("scan", "-", "--json", stdin=f"{EMAIL}\n")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["found"] == [{"file": "-", "line": 1, "column": 1, "detector": "email"}]


def test_scan_of_clean_files_finds_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("nothing in here\n")
    done = run("scan", str(tmp_path / "a"), str(tmp_path / "b"))
    assert (done.exit_code, done.stdout) == (0, "2 files, 11 detectors: nothing found\n")


def test_scan_of_an_incident_looks_through_what_is_kept(data_dir: Path, tmp_path: Path) -> None:
    config, logs = tmp_path / "airlock.yaml", data_dir / "logs"
    config.write_text(f"data_dir: {data_dir}\n")
    logs.mkdir()
    line = logs / "worker-0.00000001.jsonl"
    line.write_text('{"event": "lifecycle"}\n')
    now = time.time()
    occasion = Occasion(actor=Actor(type="human", id="a|b"), now=now)
    opened = open_incident(Open(title="In the log?"), occasion)
    with closing(open_store(data_dir / FILE)) as store:
        incidents.create(store, opened.incident, opened.events)
    asked = ("scan", "--incident", opened.incident.id, "--config", str(config))
    clean = run(*asked)
    assert clean.exit_code == 0, clean.output
    assert re.match(r"1 log lines of 1 files, \d+ audit rows since 20", clean.stdout), clean.stdout
    line.write_text(f'{{"what": "{EMAIL}"}}\n')
    found = run(*asked, "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert document["found"] == [{"file": str(line), "line": 1, "column": 11, "detector": "email"}]
    assert document["looked_at"]["files"] == 1
    assert document["looked_at"]["rows"] >= 4, document


def test_scan_of_nothing_is_no_answer(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "airlock.yaml"
    config.write_text(f"data_dir: {data_dir}\n")
    assert run("scan", "--config", str(config)).exit_code == 2
    unknown = run("scan", "--incident", "INC-20200101-000000", "--config", str(config))
    assert (unknown.exit_code, "is no incident" in unknown.stderr) == (2, True), unknown.output


def test_scan_looks_for_what_is_configured(tmp_path: Path) -> None:
    config = tmp_path / "airlock.yaml"
    config.write_text("redaction: {detectors: [aws_key]}\n")
    assert run("scan", "-", "--config", str(config), stdin=EMAIL).exit_code == 0
    config.write_text("redaction: {detectors: []}\n")
    refused = run("scan", "-", "--config", str(config), stdin=EMAIL)
    assert refused.exit_code == 2
    assert "nothing would be looked for" in refused.stderr


def test_a_file_that_cannot_be_read_is_not_called_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "good"
    good.write_text("nothing")
    assert run("scan", str(good), str(tmp_path / "missing")).exit_code == 2
    assert run("scan", str(tmp_path)).exit_code == 2
    monkeypatch.setattr(redaction, "LARGEST_FILE", 3)
    large = run("scan", str(good))
    assert large.exit_code == 2
    assert "is larger than" in large.stderr


def test_verify_tries_every_detector_with_every_form() -> None:
    done = run("verify", "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["exit"]) == (0, 0)
    assert [trial["detector"] for trial in report["trials"]] == list(NAMES)
    assert {trial["result"] for trial in report["trials"]} == {"redacted"}


def test_verify_names_what_is_off(tmp_path: Path) -> None:
    config = tmp_path / "airlock.yaml"
    config.write_text("redaction: {detectors: [email]}\n")
    done = run("verify", "--config", str(config))
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split()[:3] for line in lines if "redacted" in line] == [["redacted", "email", "here"]]
    assert sum(line.startswith("off") for line in lines) == 10


def test_verify_fails_where_no_detector_is_on(tmp_path: Path) -> None:
    config = tmp_path / "airlock.yaml"
    config.write_text("redaction: {detectors: []}\n")
    assert run("verify", "--config", str(config)).exit_code == 1


def test_a_redactor_that_does_nothing_is_found_out() -> None:
    trial = canaries.tried(Redactor(Scanner(())), "email")
    assert (trial.result, trial.missed) == ("missed", tuple(FORMS))
    assert "; came out: plain, json" in redaction_text.trials([trial])[0]


def live(tmp_path: Path, answer: Answer, *more: str) -> tuple[Result, list[tuple[str, object]]]:
    """`verify --tool` against a gateway with one answer, and what that was asked."""
    config = tmp_path / "airlock.yaml"
    with gateway(answer) as server:
        config.write_text(f"server: {{port: {server.port}}}\nredaction: {{detectors: [email]}}\n")
        done = run("verify", "--config", str(config), "--tool", "notes__echo", *more)
        return done, list(server.asked)


def test_verify_through_a_gateway_sends_a_call_and_reads_the_answer(tmp_path: Path) -> None:
    text = {"result": {"content": [{"type": "text", "text": "an example [REDACTED:email] of a sample"}]}}
    done, asked = live(tmp_path, Answer(text), "--argument", "message")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].split() == ["redacted", "email", "gateway"]
    ((method, body),) = asked
    assert method == "POST"
    assert isinstance(body, dict)
    assert body["params"]["name"] == "notes__echo"
    assert "@example.com" in body["params"]["arguments"]["message"]


def test_an_answer_without_canary_and_placeholder_decides_nothing(tmp_path: Path) -> None:
    done, _ = live(tmp_path, Answer({"error": {"code": 40301, "message": "no", "data": [None]}}))
    assert done.exit_code == 3
    assert "undecided" in done.stdout


def test_without_a_gateway_or_a_token_that_counts_verify_could_not_run(tmp_path: Path) -> None:
    done, _ = live(tmp_path, Answer({}, status=401))
    assert done.exit_code == 2
    again = run("verify", "--config", str(tmp_path / "airlock.yaml"), "--tool", "notes__echo")
    assert again.exit_code == 2
    assert "nothing listens there" in again.stderr


def test_a_log_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    assert run("stats", "--db", str(tmp_path / "missing.db")).exit_code == 2
    config = tmp_path / "airlock.yaml"
    config.write_text("redaction: {detectors: [mail]}\n")
    assert run("stats", "--config", str(config)).exit_code == 2
