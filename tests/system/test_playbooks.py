"""A playbook in a running gateway: it contains for real, survives the death of the engine, and goes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from airlock.core.clock import SYSTEM
from airlock.store import bundles, leases
from airlock.store.database import FILE, open_store
from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

FRONT = """---
id: NAME
title: Hold somebody back
types: [security_incident]
severity_floor: P2
pre_approved: [hold]
---

"""
HOLD = """
~~~action {"id": "hold", "ttl": "30m"}
subject.suspend(subject="${subject}", tenant="${tenant}")
~~~
"""
KEEP = """
~~~action {"id": "keep"}
evidence.snapshot(window="1h")
~~~
"""


class Site:
    """A gateway with an engine and two playbooks."""

    def __init__(self, gateway: Deployment) -> None:
        self.gateway = gateway
        self.admin = gateway.token("root", roles=("admin",))
        folder = gateway.data / "playbooks"
        folder.mkdir()
        (folder / "quick.md").write_text(FRONT.replace("NAME", "quick") + HOLD)
        (folder / "whole.md").write_text(FRONT.replace("NAME", "whole") + KEEP + HOLD)

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.gateway.post(body, self.admin, path=path)
        assert answer.status < 300, (answer.body, self.gateway.tail())
        return answer.json

    def incident(self) -> str:
        order = {
            "title": "Stolen laptop",
            "type": "security_incident",
            "severity": "P2",
            "commander": "Alice",
        }
        return self.ask("/api/v1/incidents", order)["incident"]["id"]

    def start(self, playbook: str, incident: str, subject: str) -> str:
        order = {
            "incident": incident, "mode": "unattended", "variables": {"subject": subject, "tenant": "acme"},
        }  # fmt: skip
        return self.ask(f"/api/v1/playbooks/{playbook}/runs", order)["run"]["id"]

    def run(self, id: str) -> dict[str, Any]:
        answer = self.gateway.get(f"/api/v1/runs/{id}", {"Authorization": f"Bearer {self.admin}"})
        return answer.json["run"]

    def over(self, id: str) -> dict[str, Any]:
        """The run once it is over."""

        def ended() -> dict[str, Any] | None:
            run = self.run(id)
            return run if run["state"] not in ("running", "waiting") else None

        return until(ended, within=90, what=f"the end of {self.run(id)}\n{self.gateway.tail()}")

    def steps(self, run: str, *, over: bool = True) -> list[str]:
        """What the log has of the steps of a run, once it has the end."""
        about = "action = 'playbook_step' AND json_extract(metadata, '$.run') = ?"
        if over:
            self.gateway.recorded(f"{about} AND reason LIKE 'run_%' AND reason != 'run_started'", run)
        sql = f"SELECT reason FROM audit_events WHERE {about} ORDER BY timestamp"  # noqa: S608 - our own text
        return [reason for (reason,) in self.gateway.rows(sql, run)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Recorder() as upstream:
        servers = [{"name": "files", "transport": "http", "url": upstream.url}]
        folder = tmp_path_factory.mktemp("playbooks")
        with Deployment(folder, servers, workers=2, incident={"engine": True}) as gateway:
            yield Site(gateway)


def test_a_playbook_contains_and_its_way_back_frees(site: Site) -> None:
    token = site.gateway.token("bob")
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert site.gateway.post(ping, token).status == 200
    id = site.start("quick", site.incident(), "bob")
    run = site.over(id)
    assert run["state"] == "succeeded", run
    until(lambda: site.gateway.post(ping, token).status == 403, what="bob is held back")
    assert site.steps(id) == ["run_started", "step_started", "step_succeeded", "run_succeeded"]
    back = site.ask(f"/api/v1/runs/{id}/rollback", {"reason": "the laptop was found"})
    assert back["released"] == [run["steps"][0]["lease"]]
    until(lambda: site.gateway.post(ping, token).status == 200, what="bob is free")


def test_an_engine_that_dies_again_and_again_is_said(site: Site) -> None:
    def database() -> dict[str, str]:
        return site.gateway.get("/ready").json["components"]["database"]

    def said() -> bool:
        with suppress(OSError):  # it may be gone before it is looked at
            for engine in site.gateway.children("airlock.engine"):
                os.kill(engine, signal.SIGKILL)
        return database()["reason"] == "incident engine: it is not running"

    until(said, what="its death is said")
    until(lambda: all(database()["state"] == "ok" for _ in range(10)), within=60, what="it runs again")


def test_the_death_of_the_engine_in_the_middle_of_a_step_repeats_nothing(site: Site) -> None:
    incident = site.incident()
    id = site.start("whole", incident, "carol")
    until(lambda: "step_started" in site.steps(id, over=False), within=60, what="the first step")
    for engine in site.gateway.children("airlock.engine"):
        os.kill(engine, signal.SIGKILL)
    run = site.over(id)
    assert run["state"] == "succeeded", run
    said = site.steps(id)
    assert sorted(said) == sorted([
        "run_started", "step_started", "step_succeeded", "step_started", "step_succeeded", "run_succeeded",
    ])  # fmt: skip
    with closing(open_store(Path(site.gateway.data) / FILE)) as store:
        assert len(bundles.of(store, incident)) == 1
        given = leases.listing(store, now=SYSTEM.wall(), include_ended=True)
    assert [lease.action for lease in given if lease.incident == incident] == ["subject.suspend"]
