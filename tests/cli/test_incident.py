"""`airlock incident` on the files of a gateway that does not run: every verb, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from airlock.cli.incident import app
from airlock.store.database import FILE, open_store
from tests.system.deployment import free_port

TYPED = "INC-20260101-210700"
REPORT = """\
# Incident Report: INC-20260101-210700

**Severity**: P1
**Type**: Security
**Start Time**: Thu Jan  1 21:07:00 UTC 2026
**Incident Commander**: Ada
**Status**: INVESTIGATING

## Initial Symptoms
- Many logins fail

## Impact Assessment
- Affected Users: [Number/Groups]
- Affected Services: gateway, files
- Business Impact: nobody works

## Timeline
- Thu Jan  1 21:07:00 UTC 2026: Incident detected
"""


class Terminal:
    """A shell on the machine of a gateway that is stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "airlock.yaml"
        self.config.write_text(f"data_dir: data\nserver: {{port: {free_port()}}}\n")
        (folder / "data").mkdir()
        open_store(folder / "data" / FILE).close()
        self.environment: dict[str, str] = {}

    def run(self, *words: str) -> Result:
        command = [*words, "--config", str(self.config)]
        return CliRunner().invoke(app, command, env=self.environment)

    def told(self, *words: str) -> Any:
        """What a command says to programs."""
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def said(self, *words: str) -> str:
        """What a command says to people."""
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def open(self, *words: str) -> str:
        return str(self.told("open", "Nobody can log in", *words)["incident"]["id"])


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_opening_prints_the_id_and_twice_the_same_one(terminal: Terminal) -> None:
    assert terminal.said("open", "--id", TYPED) == f"Incident ID: {TYPED}\n"
    again = terminal.run("open", "--id", TYPED)
    assert (again.exit_code, again.stdout) == (0, f"Incident ID: {TYPED}\n")
    assert "there already" in again.stderr


def test_a_shell_gets_a_line_for_eval(terminal: Terminal) -> None:
    found = terminal.run("open", "--id", TYPED, "--shell")
    assert (found.stdout, found.stderr) == (f"export INCIDENT_ID={TYPED}\n", f"Incident ID: {TYPED}\n")
    assert terminal.said("env") == f"export INCIDENT_ID={TYPED}\n"


def test_everything_that_is_known_goes_into_the_record(terminal: Terminal) -> None:
    words = (
        "--type service_outage --severity P1 --source user_report --symptom slow --symptom down --service a "
        "--tenant acme --users 12 --impact much --security none --breach --commander ada --ticket x"
    )
    record = terminal.told("open", "Down", *words.split())["incident"]
    assert record["symptoms"] == ["slow", "down"]
    assert (record["type"], record["is_suspected_breach"]) == ("service_outage", True)
    assert record["severity"] == "P0", "a suspected breach has a floor"


def test_an_order_that_is_wrong_is_refused(terminal: Terminal) -> None:
    refused = terminal.run("open", "--severity", "P9")
    assert (refused.exit_code, "P9" in refused.stderr) == (1, True)
    assert terminal.told("list", "--all") == {"incidents": []}


def test_the_only_open_incident_need_not_be_named(terminal: Terminal) -> None:
    nothing = terminal.run("status")
    assert (nothing.exit_code, "no incident is open" in nothing.stderr) == (2, True)
    first = terminal.open()
    assert first in terminal.said("status")
    second = terminal.open("--id", TYPED)
    several = terminal.run("status")
    assert several.exit_code == 2
    assert first in several.stderr
    assert second in several.stderr
    terminal.environment = {"INCIDENT_ID": second}
    assert second in terminal.said("status")


def test_a_record_is_listed_and_shown(terminal: Terminal) -> None:
    assert terminal.said("list") == "no incident is open\n"
    id = terminal.open("--symptom", "evil \x1b[31m | `x` <b>")
    assert id in terminal.said("list")
    shown = terminal.said("show", id)
    assert "\x1b" not in shown
    assert "[detected]" in shown
    assert terminal.run("show", TYPED).exit_code == 1


def test_a_note_stands_on_the_timeline(terminal: Terminal) -> None:
    id = terminal.open()
    found = terminal.told("note", id, "It is the disk", "--kind", "hypothesis", "--basis", "inferred")
    assert [event["kind"] for event in found["events"]] == ["hypothesis"]
    assert "It is the disk" in terminal.said("note", id, "It is the disk", "--ref", "row-1")


def test_facts_are_completed(terminal: Terminal) -> None:
    id = terminal.open()
    record = terminal.told("edit", id, "affected_users=12", "tenants=a, b", "is_suspected_breach=false")[
        "incident"
    ]
    assert (record["affected_users"], record["tenants"]) == ("12", ["a", "b"])
    assert record["is_suspected_breach"] is False
    assert terminal.run("edit", id, "nothing").exit_code == 2


def test_a_guard_says_everything_that_is_missing(terminal: Terminal) -> None:
    id = terminal.open()
    refused = terminal.run("resolve", id)
    assert refused.exit_code == 1
    assert "resolve is refused; missing:\n  status: " in refused.stderr


def test_an_incident_goes_its_way(terminal: Terminal) -> None:
    id = terminal.open("--severity", "P1")
    terminal.said("assign", id, "incident_commander")
    assert "P1  TRIAGE" in terminal.said("acknowledge", id, "--level", "L2")
    assert "INVESTIGATING" in terminal.said("declare", id)
    terminal.said("flag", id, "customer_impact")
    terminal.said("escalate", id, "--level", "L3", "--reason", "customers call")
    identified = terminal.said("identify", id, "--hypothesis", "a full disk", "--evidence", "row-1")
    assert "IDENTIFIED" in identified
    assert "MONITORING" in terminal.said("mitigate", id, "--self-recovered")
    assert terminal.run("resolve", id, "--cause", "x", "--resolution", "y").exit_code == 1
    assert "INVESTIGATING" in terminal.said("reopen", id, "--reason", "it is full again")
    assert terminal.run("close", id).exit_code == 1
    assert "P0" in terminal.said("severity", id, "P0", "--reason", "worse")
    assert "CANCELLED" in terminal.said("cancel", id, "--verdict", "test")
    assert id in terminal.said("list", "--all")


def test_one_goes_on_in_another(terminal: Terminal) -> None:
    one, other = terminal.open(), terminal.open("--id", TYPED)
    assert "MERGED" in terminal.said("merge", one, "--into", other, "--reason", "the same")


def test_roles_tasks_and_leases_have_people(terminal: Terminal) -> None:
    id = terminal.open()
    terminal.said("assign", id, "scribe", "ada")
    assert "scribe: ada" in terminal.said("status", id)
    terminal.said("renounce", id, "scribe")
    assert "scribe: ada" not in terminal.said("status", id)
    terminal.said("task", id, "bank", "--add", "Call the bank", "--due", "2027-01-01T00:00:00Z")
    assert "open: bank: Call the bank, due 2027-01-01T00:00:00Z" in terminal.said("status", id)
    terminal.said("task", id, "bank", "--note", "called")
    assert "open: bank" not in terminal.said("status", id)
    assert terminal.told("own", id, "L-1", "ada")["incident"]["owners"] == {"L-1": "ada"}


def test_clocks_run_and_duties_are_started(terminal: Terminal) -> None:
    id = terminal.open("--severity", "P1")
    assert terminal.said("clocks", id) == terminal.said("clocks", "list", id) == terminal.said("clocks")
    assert "clock response: running, due 20" in terminal.said("clocks", id)
    assert "gdpr: runs" in terminal.said("clocks", "start", "gdpr", "--trigger", "awareness")
    waived = terminal.said("clocks", "start", "sox", "--not-applicable", "no company", "--incident", id)
    assert "sox: does not apply: no company" in waived
    names = [clock["name"] for clock in terminal.told("clocks", id)["clocks"]]
    stage = next(name for name in names if name.startswith("gdpr:")).partition(":")[2]
    assert "gdpr" in terminal.said("clocks", "met", "gdpr", stage, "--incident", id)
    assert terminal.run("clocks", "start", "nowhere", "--incident", id).exit_code == 1


def test_the_review_is_written(terminal: Terminal) -> None:
    id = terminal.open()
    said = terminal.said("review", id, "occurrence=nobody looked", "went_well=a; b", "breach_answered=false")
    assert "occurrence: nobody looked" in said
    review = terminal.told("review", id)["incident"]["review"]
    assert (review["went_well"], review["breach_answered"]) == (["a", "b"], False)
    assert terminal.run("review", id, "nothing").exit_code == 2
    assert terminal.run("review", id, "--begin").exit_code == 1, "it is not resolved"


def test_action_items_are_kept_and_exported(terminal: Terminal) -> None:
    id = terminal.open()
    assert terminal.said("actions", "list", id) == "there is nothing to do\n"
    terminal.said("actions", "add", id, "Watch it", "--kind", "threshold", "--detail", "rule=MCP-001")
    terminal.said("actions", "add", id, "Write it down", "--owner", "ada", "--due", "2027-01-01")
    assert terminal.run("actions", "add", id, "x", "--detail", "rule").exit_code == 2
    listed = terminal.said("actions", "close", id, "A-2", "--note", "done")
    assert "[x] A-2  Write it down  (fix, owner ada, due 2027-01-01)" in listed
    out = terminal.folder / "out"
    files = terminal.told("actions", "export", id, "--out", str(out))["files"]
    kinds = [yaml.safe_load(Path(file).read_text())["kind"] for file in files]
    assert kinds == ["PrometheusRule", "PrometheusRule", "ConfigMap"]
    (out / "no").write_text("")
    assert terminal.run("actions", "export", id, "--out", str(out / "no")).exit_code == 2


def test_a_report_that_was_written_by_hand_opens_an_incident(terminal: Terminal) -> None:
    file = terminal.folder / f"incident-{TYPED}.md"
    file.write_text(REPORT)
    assert terminal.said("import", str(file)) == f"Incident ID: {TYPED}\n"
    record = terminal.told("show", TYPED)
    assert record["incident"]["title"] == "Many logins fail"
    assert record["incident"]["estimated_start"] == "2026-01-01T21:07:00Z"
    assert "Incident detected" in record["events"][-1]["summary"]
    count = len(record["events"])
    terminal.said("import", str(file))
    assert len(terminal.told("show", TYPED)["events"]) == count, "nothing is written twice"
    file.write_text(REPORT.replace("P1", "grave"))
    wrong = terminal.run("import", str(file))
    assert (wrong.exit_code, f"incident-{TYPED}.md:3" in wrong.stderr) == (2, True)
    assert terminal.run("import", str(file) + "x").exit_code == 2
