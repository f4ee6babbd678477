"""Alerts and rules from a terminal, on the files of a gateway that does not run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import program
from airlock.core import ids
from airlock.core.clock import SYSTEM
from airlock.incident import alerts as states
from airlock.model.incident import Finding
from airlock.store import alerts
from airlock.store.database import FILE, open_store

CONFIG = "data_dir: data\nserver: {host: 127.0.0.1, port: 1}\nservers: []\n"
HOSTILE = "\x1b[31mred\nline"


class Site:
    """A configuration whose port nobody listens on, and an alert in its data."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "airlock.yaml"
        self.config.write_text(CONFIG)
        now = SYSTEM.wall()
        finding = Finding(
            rule="MCP-005", severity="P2", group={"subject": HOSTILE}, summary=f"{HOSTILE} asked",
            since=now - 60, until=now,
        )  # fmt: skip
        with closing(open_store(folder / "data" / FILE)) as store:
            (made,) = alerts.fold(
                store, [finding], lambda before, it: states.folded(before, it, now, ids.uuid7()),
                states.fingerprint, now=now,
            )  # fmt: skip
        self.alert = made.id

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(program(), [*words, "--config", str(self.config)])

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    yield Site(tmp_path)


def test_a_list_obeys_no_hostile_name(site: Site) -> None:
    done = site.run("alert", "list")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{site.alert}  P2  MCP-005  NEW  ")
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert site.json("alert", "list", "--rule", "MCP-001") == {"alerts": []}
    assert site.run("alert", "list", "--state", "DISMISSED").stdout == "no alerts\n"


def test_an_alert_is_acknowledged_once(site: Site) -> None:
    done = site.run("alert", "ack", site.alert)
    assert (done.exit_code, "ACKNOWLEDGED" in done.stdout) == (0, True)
    again = site.run("alert", "ack", site.alert)
    assert again.exit_code == 1
    assert "ACKNOWLEDGED" in again.stderr


def test_an_alert_begins_an_incident_and_another_joins_it(site: Site) -> None:
    done = site.run("alert", "declare", site.alert, "--title", "Somebody looks around")
    assert done.exit_code == 0, done.output
    incident = done.stdout.splitlines()[-1].removeprefix("Incident ID: ")
    assert incident.startswith("INC-")
    assert [each["id"] for each in site.json("alert", "list", "--incident", incident)["alerts"]] == [
        site.alert
    ]
    assert site.run("alert", "declare", site.alert, "--incident", incident).exit_code == 1


def test_an_alert_is_dismissed_with_a_verdict(site: Site) -> None:
    found = site.json("alert", "dismiss", site.alert, "--verdict", "false_positive")["alert"]
    assert (found["state"], found["verdict"]) == ("DISMISSED", "false_positive")
    assert site.run("alert", "dismiss", site.alert, "--verdict", "odd").exit_code == 1


def test_an_alert_is_kept_quiet_for_a_while(site: Site) -> None:
    done = site.run("alert", "suppress", site.alert, "--for", "2h")
    assert "quiet until" in done.stdout
    assert site.run("alert", "suppress", site.alert, "--for", "2h").exit_code == 1


def test_rules_are_listed_and_set(site: Site) -> None:
    listed = site.run("rule", "list")
    assert listed.exit_code == 0, listed.output
    assert "MCP-002  P1  T1  active  Credential stuffing  subjects=10" in listed.stdout
    words = ("rule", "mode", "MCP-002", "monitor", "--reason", "too loud", "--threshold", "subjects=20")
    assert "monitor  Credential stuffing  subjects=20" in site.run(*words).stdout
    done = site.run("rule", "mode", "MCP-002", "inactive", "--reason", "x", "--tenant", "acme")
    assert "acme: inactive" in done.stdout
    found = site.json("rule", "mode", "MCP-002", "default", "--reason", "as shipped")["rule"]
    assert found["mode"] == "active"
    assert site.json("rule", "list")["rules"][1]["id"] == "MCP-002"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("MCP-002", "odd", "--reason", "x"), 1),
        (("MCP-999", "monitor", "--reason", "x"), 1),
        (("MCP-002", "monitor", "--reason", "x", "--threshold", "subjects"), 2),
        (("MCP-002", "monitor", "--reason", "x", "--threshold", "odd=1"), 1),
    ],
)
def test_what_cannot_be_set_is_refused(site: Site, words: tuple[str, ...], code: int) -> None:
    done = site.run("rule", "mode", *words)
    assert done.exit_code == code
    assert done.stderr
