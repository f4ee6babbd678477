"""Trying, approving, explaining and restoring on the files of a gateway that does not run."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import program
from airlock.core.clock import SYSTEM
from airlock.incident import proposals
from airlock.model.incident import Actor, Incident
from airlock.model.proposal import Order
from airlock.store import incidents, leases
from airlock.store.database import FILE, open_store

CONFIG = """
data_dir: data
server: {host: 127.0.0.1, port: 1}
servers: [{name: docs, transport: http, url: "http://127.0.0.1:9/mcp"}]
"""
SUSPEND = ("contain", "subject.suspend", "--selector", "subject=bob", "--reason", "stolen")


class Site:
    """A configuration whose port nobody listens on, and its data."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "airlock.yaml"
        self.config.write_text(CONFIG)
        self.file = folder / "data" / FILE
        open_store(self.file).close()

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(program(), [*words, "--config", str(self.config)])

    def json(self, *words: str, code: int = 0) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    def open_incident(self) -> None:
        incident = Incident(
            id="INC-20261122-120000", title="t", type="security_incident", severity="P1", status="TRIAGE",
            detection_source="security_alert", affected_services=("docs",), opened_at=1.0, detected_at=1.0,
            clocks_from=1.0,
        )  # fmt: skip
        with closing(open_store(self.file)) as store:
            incidents.create(store, incident, [])

    def hostile(self) -> str:
        order = Order(action="tenant.isolate", selector={"tenant": "acme"}, reason="it is 1m")
        with closing(open_store(self.file)) as store:
            by = Actor(type="detector", id="MCP-\x1b[31m001")
            return proposals.propose(store, order, by=by, now=SYSTEM.wall()).id

    def held(self) -> int:
        with closing(open_store(self.file)) as store:
            return len(leases.listing(store, now=SYSTEM.wall()))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_dry_run_contains_nothing_and_an_approval_does_what_was_tried(site: Site) -> None:
    tried = site.run(*SUSPEND, "--dry-run")
    assert tried.exit_code == 0
    assert "class B" in tried.stdout
    assert "no recorded calls" in tried.stdout
    id = tried.stdout.split()[0]
    assert f"airlock approve {id} carries it out" in tried.stdout
    assert site.held() == 0
    assert id in site.run("proposals").stdout
    done = site.run("approve", id)
    assert (done.exit_code, site.held()) == (0, 1)
    assert "carried out: lease" in done.stdout
    assert site.run("approve", id).exit_code == 1


def test_a_proposal_is_declined(site: Site) -> None:
    id = site.json(*SUSPEND, "--dry-run")["proposal"]["id"]
    assert "REJECTED" in site.run("reject", id, "--reason", "no").stdout
    assert site.json("proposals", "--incident", "other") == {"proposals": []}
    assert site.run("proposals", "--incident", "other").stdout == "nothing was proposed\n"
    assert site.run("reject", id, "--reason", "no").exit_code == 1
    again = site.json(*SUSPEND, "--dry-run")["proposal"]["id"]
    assert site.json("reject", again, "--reason", "no")["proposal"]["state"] == "REJECTED"


def test_what_others_wrote_obeys_no_terminal(site: Site) -> None:
    site.hostile()
    assert "\x1b" not in site.run("proposals").stdout


def test_a_freeze_needs_no_selector(site: Site) -> None:
    assert site.json("contain", "policy.freeze", "--reason", "look")["lease"]["selector"] == {}


def test_a_lease_is_extended_and_explained(site: Site) -> None:
    lease = site.json(*SUSPEND, "--ttl", "10m")["lease_id"]
    longer = site.run("lease", "extend", lease, "--ttl", "30m", "--reason", "still")
    assert (longer.exit_code, longer.stdout.startswith("extended: ")) == (0, True)
    told = site.run("lease", "explain", "subject=bob").stdout
    assert told.startswith("suspend.subjects: ")
    assert lease in told
    assert site.run("lease", "explain", "subject=eve").stdout == "no lease is about that\n"
    assert site.json("lease", "explain")["settings"] == []
    assert site.run("lease", "explain", "colour=red").exit_code == 1


def test_a_server_is_isolated_and_restored(site: Site) -> None:
    told = site.run("server", "isolate", "docs", "--reason", "odd")
    assert told.exit_code == 0, told.output
    assert "docs was active and is inactive; 0 calls cancelled, 0 sessions closed" in told.stdout
    assert site.json("server", "isolate", "docs")["before"] == {"status": "inactive"}
    assert site.json("server", "restore", "docs")["after"] == {"status": "active"}
    assert site.run("server", "isolate", "nobody").exit_code == 1


def test_restoring_what_an_incident_names_waits_for_two_people(site: Site) -> None:
    site.open_incident()
    site.run("server", "isolate", "docs")
    refused = site.run("server", "restore", "docs")
    assert refused.exit_code == 1
    assert "--reason" in refused.stderr
    waits = site.run("server", "restore", "docs", "--reason", "clean")
    assert waits.exit_code == 4
    assert "needs 2 people, has nobody" in waits.stdout
    id = site.json("server", "restore", "docs", "--reason", "clean", code=4)["proposal"]["id"]
    assert "sign in again" in site.run("approve", id).stderr
