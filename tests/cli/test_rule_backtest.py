"""`airlock rule backtest` and `export` as an operator runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from airlock.cli.rule import app
from airlock.cli.rule_backtest import told
from airlock.incident.detect.backtest import Backtest, Found
from airlock.incident.detect.catalogue import rules
from airlock.incident.detect.memory import HOUR
from airlock.model.entry import Personal
from tests.audit.conftest import Log

HOSTILE = "evil\x1b[2J"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A log with 25 refusals of one subject, an hour ago."""
    written = Log(tmp_path / "data")
    written.clock.now -= HOUR
    who = Personal(issuer="i", subject=HOSTILE, source_ip="203.0.113.7")
    written.fill(25, decision="deny", reason="policy_denied", personal=who)
    written.project()
    written.release()
    return tmp_path / "data"


def test_alerts_of_the_past_are_exit_one(data_dir: Path) -> None:
    done = run("backtest", "MCP-001", "--data-dir", str(data_dir), "--since", "2h")
    assert done.exit_code == 1
    assert "1 alerts, 1 a day" in done.stdout
    assert "evil\\x1b[2J" in done.stdout
    assert "\x1b" not in done.stdout


def test_another_threshold_and_json(data_dir: Path) -> None:
    done = run("backtest", "MCP-001", "--data-dir", str(data_dir), "--threshold", "count=50", "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["alerts"], document["thresholds"]["count"]) == (0, 0, 50)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("MCP-9\x1b",), "no rule is called MCP-9\\x1b: there are MCP-001"),
        (("MCP-001", "--threshold", "count"), "count is no threshold: write NAME=NUMBER"),
        (("MCP-001", "--threshold", "speed=1"), "MCP-001 has no threshold speed"),
        (("MCP-001", "--since", "soon"), "not a duration"),
        (("MCP-001", "--db", "/nowhere/audit.db"), "unable to open"),
    ],
)
def test_what_cannot_run_is_exit_two(data_dir: Path, arguments: tuple[str, ...], said: str) -> None:
    where = () if "--db" in arguments else ("--data-dir", str(data_dir))
    done = run("backtest", *arguments, *where)
    assert done.exit_code == 2
    assert done.stderr.startswith("airlock rule: ")
    assert said in done.stderr


def test_a_long_answer_is_cut_and_says_so() -> None:
    hit = Found(
        severity="P1", tenant="", group={}, summary="s", metric=1, first=1.0, last=2.0, count=1, event_ids=()
    )
    found = Backtest(
        rule="MCP-001", thresholds={}, since=0.0, until=1.0, rows=1, learned_from=0, shortened=True,
        alerts=25, per_day=25.0, hits=(hit,) * 25,
    )  # fmt: skip
    shown = told(found)
    assert "the period is shorter than you asked for" in shown
    assert shown.endswith("and 5 more: --json has them")


def test_rules_are_exported_as_sigma(tmp_path: Path) -> None:
    one = run("export", "MCP-008")
    first, *_ = yaml.safe_load_all(one.stdout)
    assert (one.exit_code, first["logsource"]["product"]) == (0, "mcp_gateway")
    every = [document for document in yaml.safe_load_all(run("export").stdout) if "airlock" in document]
    assert {document["airlock"].get("rule") for document in every} - {None} == set(rules())
    done = run("export", "--out", str(tmp_path / "sigma"))
    assert done.stdout.startswith("29 rules and the taxonomy are in ")
    assert len(list((tmp_path / "sigma").glob("*.yml"))) == 30


def test_an_export_that_cannot_be_is_exit_two(tmp_path: Path) -> None:
    assert run("export", "MCP-000").exit_code == 2
    (tmp_path / "file").write_text("")
    assert run("export", "--out", str(tmp_path / "file" / "sigma")).exit_code == 2
