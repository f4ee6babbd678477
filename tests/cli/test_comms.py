"""Notices, contacts and fail-open on the command line, on the files of a gateway that does not run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from airlock.cli import program
from airlock.model.grant import Debt
from airlock.store import grants
from airlock.store.database import FILE, open_store
from tests.system.deployment import free_port

ID = "INC-20260101-210700"


class Terminal:
    """A shell on the machine of a gateway that is stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        targets = [
            {"name": "room", "kind": "slack", "url": "https://a.example", "audiences": ["war_room"]},
            {"name": "status", "kind": "webhook", "url": "https://b.example", "audiences": ["customer"]},
        ]
        section = {"targets": targets, "contacts_file": str(folder / "contacts.yaml")}
        document = {"data_dir": "data", "server": {"port": free_port()}, "incident": section}
        (folder / "airlock.yaml").write_text(yaml.safe_dump(document))
        (folder / "data").mkdir()
        open_store(folder / "data" / FILE).close()

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(program(), [*words, "--config", str(self.folder / "airlock.yaml")])

    def open(self) -> None:
        opened = self.run("incident", "open", "Policy answers nothing", "--id", ID, "--severity", "P1")
        assert opened.exit_code == 0, opened.output


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_a_notice_is_sent_and_listed(terminal: Terminal) -> None:
    terminal.open()
    sent = terminal.run("incident", "send", "team", "--incident", ID)
    assert (sent.exit_code, "team to room" in sent.output) == (0, True), sent.output
    listed = terminal.run("incident", "comms", ID)
    assert (listed.exit_code, "queued" in listed.output) == (0, True)
    assert terminal.run("incident", "send", "executive", "--incident", ID).exit_code == 1


def test_a_text_for_customers_waits_for_its_approvals(terminal: Terminal) -> None:
    terminal.open()
    sent = terminal.run("incident", "send", "customer", "--incident", ID, "--json")
    assert sent.exit_code == 4
    message = json.loads(sent.stdout)["messages"][0]["id"]
    listed = terminal.run("incident", "comms", ID)
    assert "waiting for communications_lead" in listed.output
    refused = terminal.run("incident", "comms", ID, "--approve", message)
    assert (refused.exit_code, "communications lead" in refused.output) == (1, True)
    assert terminal.run("incident", "comms", ID, "--approve", "none").exit_code == 1
    me = json.loads(terminal.run("incident", "show", ID, "--json").stdout)["incident"]["id"]
    assert me == ID


def test_contacts_are_checked(terminal: Terminal) -> None:
    missing = terminal.run("contacts", "check")
    assert (missing.exit_code, "contacts.yaml" in missing.output) == (1, True)
    known = {
        "on_call": {"primary": "+1-555-0101", "secondary": "+1-555-0102"},
        "management": {"engineering_manager": "+1-555-0201", "director": "+1-555-0301"},
        "external": {"security_team": "security@example.com", "legal_team": "legal@example.com"},
        "vendors": {"cloud_provider": "+1-800-SUPPORT"},
    }
    file = terminal.folder / "contacts.yaml"
    file.write_text(yaml.safe_dump({"contacts": known}))
    partly = terminal.run("contacts", "check")
    assert (partly.exit_code, "MISSING management.cto" in partly.output) == (1, True)
    known["management"]["cto"] = "+1-555-0401"
    known["external"]["executive_team"] = "#executives"
    file.write_text(yaml.safe_dump({"contacts": known}))
    whole = terminal.run("contacts", "check")
    assert (whole.exit_code, "on_call.primary: +1-555-0101" in whole.output) == (0, True)
    assert json.loads(terminal.run("contacts", "check", "--json").stdout)["concerns"] == []


def test_failing_open_needs_a_failing_engine(terminal: Terminal) -> None:
    terminal.open()
    shown = terminal.run("failmode", "show")
    assert (shown.exit_code, "nothing fails open" in shown.output) == (0, True)
    refused = terminal.run("failmode", "set", "open", "--incident", ID)
    assert (refused.exit_code, "MCP-024" in refused.output) == (1, True)
    assert terminal.run("failmode", "set", "open", "--tools", "all", "--incident", ID).exit_code == 1
    closed = terminal.run("failmode", "set", "closed")
    assert (closed.exit_code, "nothing failed open" in closed.output) == (0, True)
    assert json.loads(terminal.run("failmode", "set", "closed", "--json").stdout) == {"ended": []}
    assert json.loads(terminal.run("failmode", "show", "--json").stdout) == {"grants": []}


def test_debt_is_listed_and_waived_by_two(terminal: Terminal) -> None:
    terminal.open()
    none = terminal.run("incident", "debt", ID)
    assert (none.exit_code, "no call passed" in none.output) == (0, True)
    store = open_store(terminal.folder / "data" / FILE)
    owed = Debt(
        id="row-1",
        grant="g",
        incident=ID,
        state="open",
        at="2026-01-01 21:08:00.000000",
        why="cannot tell: gone",
    )
    grants.owe(store, [owed])
    store.close()
    listed = terminal.run("incident", "debt", ID)
    assert (listed.exit_code, "row-1  open" in listed.output) == (1, True)
    waived = terminal.run("incident", "debt", ID, "--waive", "row-1", "--reason", "a public page")
    assert waived.exit_code == 4, waived.output
    again = terminal.run("incident", "debt", ID, "--waive", "row-1", "--reason", "a public page")
    assert (again.exit_code, "another person" in again.output) == (1, True)
    assert terminal.run("incident", "debt", ID, "--waive", "none", "--reason", "x").exit_code == 1
