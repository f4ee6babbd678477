"""Verification, watch and counterfactuals on the command line, on the files of a gateway that is stopped."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from airlock.model.incident import Incident, Status
from airlock.store import incidents, leases
from airlock.store.database import FILE, open_store
from tests.cli.test_incident import Terminal
from tests.incident.life_parts import brought_to
from tests.incident.test_counterfactuals import Planted

ID = "INC-20260101-000001"


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def kept(terminal: Terminal, status: Status) -> None:
    put(terminal, msgspec.structs.replace(brought_to(status), id=ID))


def put(terminal: Terminal, incident: Incident) -> None:
    store = open_store(terminal.folder / "data" / FILE)
    incidents.create(store, incident, ())
    store.close()


def watches(terminal: Terminal) -> list[str]:
    store = open_store(terminal.folder / "data" / FILE)
    found = leases.listing(store, now=0.0, include_ended=True, action="monitoring.enhance")
    store.close()
    return [lease.incident for lease in found]


def test_a_gateway_that_does_not_answer_is_not_green_and_that_is_noted(terminal: Terminal) -> None:
    kept(terminal, "MONITORING")
    result = terminal.run("verify", ID, "--check", "live", "--check", "metrics")
    assert (result.exit_code, result.stdout.count("FAIL ")) == (1, 2), result.output
    events = terminal.told("show", ID)["events"]
    noted = [each for each in events if each["kind"] == "verification_run"]
    assert [(each["details"]["check"], each["details"]["passed"]) for each in noted] == [
        ("live", False), ("metrics", False)
    ]  # fmt: skip
    assert "Verification live: not green: live" in noted[0]["summary"]


def test_a_check_that_there_is_none_of_is_refused(terminal: Terminal) -> None:
    kept(terminal, "MONITORING")
    result = terminal.run("verify", ID, "--check", "hope")
    assert (result.exit_code, "live, ready, metrics, e2e" in result.stderr) == (2, True)
    assert terminal.run("verify", "INC-20000101-000000", "--check", "live").exit_code == 1


@pytest.mark.parametrize(
    ("status", "watched"), [("INVESTIGATING", []), ("MONITORING", [ID]), ("RESOLVED", [ID])]
)
def test_what_is_over_is_watched_beyond_the_command(
    terminal: Terminal, status: Status, watched: list[str]
) -> None:
    kept(terminal, status)
    result = terminal.run("watch", ID, "--for", "24h", "--detach")
    assert ("is watched until" in result.stderr) == bool(watched), result.output
    assert watches(terminal) == watched


def test_what_has_ended_is_not_watched(terminal: Terminal) -> None:
    kept(terminal, "CLOSED")
    result = terminal.run("watch", ID, "--for", "24h", "--detach")
    assert (result.exit_code, "nothing opens it again" in result.stderr) == (2, True)


def test_lines_of_the_past_become_action_items(tmp_path: Path) -> None:
    planted = Planted(tmp_path)
    terminal = Terminal.__new__(Terminal)
    terminal.folder, terminal.config, terminal.environment = tmp_path, tmp_path / "airlock.yaml", {}
    terminal.config.write_text("data_dir: data\nserver: {port: 1}\n")
    put(terminal, planted.question().incident)

    none = terminal.run("counterfactuals", ID, "--accept", "1")
    assert (none.exit_code, "Nobody has asked yet" in none.stderr) == (1, True)
    said = terminal.said("counterfactuals", ID, "--days", "10")
    number = next(line[0] for line in said.splitlines() if "MCP-001 at count=10" in line)
    assert "not played: policy revisions" in said
    assert "rows before the detection; digest" in said

    done = terminal.told("counterfactuals", ID, "--accept", number, "--owner", "ada", "--due", "2026-12-01")
    (item,) = done["incident"]["actions"]
    assert (item["kind"], item["owner"], item["details"]["rule"]) == ("threshold", "ada", "MCP-001")
    assert item["details"]["new"] == "count=10 grave=50"
    unknown = terminal.run("counterfactuals", ID, "--accept", "99")
    assert (unknown.exit_code, "there is no line 99" in unknown.stderr) == (2, True)
