"""Drills, carried out: in a shadow that leaves nothing, with results, and an incident where one fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from airlock.api import drills as api
from airlock.api.drills import DrillsApi
from airlock.app import drilling, drilling_rules
from airlock.app.drilling import Drilling
from airlock.app.shadow import FOLDER
from airlock.core.clock import SYSTEM
from airlock.core.config import Config
from airlock.core.errors import Rejected
from airlock.core.incident_config import IncidentSection
from airlock.incident.detect import catalogue
from airlock.incident.playbooks.library import FOLDER as PLAYBOOKS
from airlock.model.drill import Drill, Kind
from airlock.store import alerts, drills, incidents, leases, messages, proposals
from airlock.store.changes import versions
from airlock.store.database import FILE, Store, open_store
from tests.api.doors import ADMIN, request


class House:
    """The engine's drills over a store."""

    def __init__(self, root: Path, **section: Any) -> None:
        self.root = root
        self.config = Config(data_dir=str(root), incident=IncidentSection(**section))
        self.store: Store = open_store(root / FILE)
        self.drilling = Drilling(
            config=self.config, store=self.store, clock=SYSTEM, log=structlog.get_logger()
        )
        self.api = DrillsApi(store=self.store, base=lambda: self.config, clock=SYSTEM)

    def drill(self, subject: str, kind: Kind = "rule") -> Drill:
        drills.request(self.store, {subject: kind}, by="bob", now=SYSTEM.wall())
        self.drilling.look()
        return drills.results(self.store)[subject][0]

    def ask(self, *subjects: str) -> list[dict[str, Any]]:
        asked = request("POST", api.entries(self.api)[1].path, {"subjects": subjects})
        return json.loads(asyncio.run(self.api.ask(asked, ADMIN)).body)["drills"]

    def card(self) -> dict[str, dict[str, Any]]:
        answer = asyncio.run(self.api.card(request("GET", "/api/v1/drills"), ADMIN))
        return {each["id"]: each for each in json.loads(answer.body)["drills"]}

    def untouched(self) -> None:
        """The drill gave, raised, proposed and sent nothing here."""
        now = SYSTEM.wall()
        assert leases.listing(self.store, now=now, include_ended=True) == []
        assert alerts.listing(self.store) == []
        assert proposals.listing(self.store) == []
        with self.store.read() as connection:
            assert versions(connection)["leases"] == 0
            assert connection.execute(messages.messages.select()).all() == []
        assert list((self.root / FOLDER).iterdir()) == []


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


@pytest.mark.parametrize(
    ("rule", "contained"),
    [
        ("MCP-002", "ip.block, by itself"),
        ("MCP-006", "subject.suspend, proposed, and approved by a person"),
        ("MCP-008", "no lease follows from what the rule found"),
    ],
)
def test_i24_a_rule_is_proven_and_touches_nobody(house: House, rule: str, contained: str) -> None:
    drill = house.drill(rule)
    assert (drill.state, drill.problem) == ("passed", "")
    assert [each.name for each in drill.steps] == [
        "detect",
        "declare",
        "contain",
        "expire",
        "bundle",
        "verify",
    ]
    assert drill.steps[2].detail == contained
    assert drill.detect is not None
    assert drill.evidence is not None
    assert (drill.contain is None) == contained.startswith("no lease")
    house.untouched()
    assert incidents.listing(house.store, include_ended=True) == []
    line = house.card()[rule]
    assert (line["warning"], line["last"]["state"], line["waiting"]) == ("", "passed", False)
    assert line["last_proven"] == line["last"]["ended_at"]


def test_a_playbook_is_run_over_the_incident_of_its_rule(house: House) -> None:
    drill = house.drill("compromised-server", "playbook")
    assert (drill.state, drill.problem) == ("passed", "")
    found = {each.name: each.result for each in drill.steps}
    assert found["isolate"] == found["freeze"] == found["tell"] == "done"
    assert found["users"] == found["rotate"] == "not drilled"
    house.untouched()


def test_a_playbook_that_waits_is_drilled_without_a_rule(house: House) -> None:
    folder = house.root / PLAYBOOKS
    folder.mkdir()
    (folder / "play.md").write_text(PLAY)
    drill = house.drill("play", "playbook")
    assert (drill.state, drill.problem) == ("passed", "")
    assert [(each.name, each.result) for each in drill.steps] == [
        ("declare", "done"), ("slow", "done"), ("check", "not drilled"), ("other", "not drilled"),
    ]  # fmt: skip


PLAY = """---
id: play
title: Play
types: [service_outage]
severity_floor: P2
triggers: []
impact: none
owner: ops
reviewed_on: 2026-11-22
last_drill: pending
pre_approved: []
---

# Play

~~~action {"id": "slow", "ttl": "1h", "delay": "30m"}
ratelimit.tighten(per_token="10/min")
~~~

~~~action {"id": "check"}
verify.run(suite="e2e")
~~~

~~~action {"id": "other", "when": "severity == 'P0'"}
escalate(level="L2", reason="it is grave")
~~~
"""


def test_a_playbook_of_manual_steps_is_pending(house: House) -> None:
    drill = house.drill("policy-engine-failure", "playbook")
    assert drill.state == "pending"
    assert {each.result for each in drill.steps} == {"not drilled"}
    assert house.card()["policy-engine-failure"]["warning"] == "nothing of it can be drilled here"
    assert incidents.listing(house.store) == []


def test_a_drill_that_fails_opens_one_incident(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    benign = catalogue.trace("MCP-024", "benign")
    monkeypatch.setattr(drilling_rules.catalogue, "trace", const(benign))
    drill = house.drill("MCP-024")
    assert (drill.state, drill.problem) == ("failed", "detect: the rule does not find its attack")
    house.drill("MCP-024")
    (record,) = incidents.listing(house.store)
    assert (record.title, record.severity) == ("The drill of MCP-024 failed", "P2")
    assert (record.type, record.symptoms) == ("policy_failure", (drill.problem,))
    assert house.card()["MCP-024"]["warning"] == "its last drill failed"
    monkeypatch.undo()
    gone = house.drill("no-such-playbook", "playbook")
    assert (gone.state, gone.problem) == ("failed", "there is no such playbook")


def const(value: Any) -> Callable[..., Any]:
    def give(*_: object) -> Any:
        return value

    return give


def broken(*_: object) -> None:
    raise ZeroDivisionError("division by zero")


def test_what_breaks_is_a_failure(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drilling_rules, "strays", const(["ip.block names cidr 10.0.0.1/32"]))
    assert house.drill("MCP-002").problem == "contain: ip.block names cidr 10.0.0.1/32"
    monkeypatch.setattr(drilling_rules, "findings_of", broken)
    assert house.drill("MCP-002").problem == "detect: ZeroDivisionError: division by zero"
    house.untouched()


def test_drills_are_asked_for_once(house: House) -> None:
    first = house.ask("MCP-002", "memory")
    assert [(each["subject"], each["kind"], each["state"]) for each in first] == [
        ("MCP-002", "rule", "requested"), ("memory", "playbook", "requested"),
    ]  # fmt: skip
    every = house.ask("*")
    assert len(every) == len(house.card()) > 29
    assert {each["id"] for each in first} <= {each["id"] for each in every}
    assert all(each["waiting"] for each in house.card().values())
    with pytest.raises(Rejected) as refused:
        house.ask("MCP-999")
    assert (refused.value.http, refused.value.reason) == (422, "drill_unknown")
    with pytest.raises(Rejected, match="Nothing is named"):
        house.ask()
    house.config = Config(incident=IncidentSection(engine=False))
    with pytest.raises(Rejected, match=r"incident\.engine"):
        house.ask("MCP-002")


def test_one_rule_a_day_where_that_is_set(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drilling, "ASK_EVERY", 0.0)
    house.drilling.look()
    assert drills.wanted(house.store) == []
    daily = msgspec.structs.replace(house.config, incident=IncidentSection(drills=True))
    house.drilling.take_over(daily)
    house.drilling.look()
    (asked,) = drills.wanted(house.store)
    assert (asked.subject, asked.by) == ("MCP-001", "airlock")
    over = msgspec.structs.replace(asked, state="passed", ended_at=SYSTEM.wall())
    drills.done(house.store, over, now=SYSTEM.wall())
    for _ in range(2):
        house.drilling.look()
    assert drills.wanted(house.store) == []


def test_results_of_one_subject_stay_few(house: House) -> None:
    for n in range(drills.KEPT + 5):
        (asked,) = drills.request(house.store, {"MCP-001": "rule"}, by="bob", now=float(n))
        done = msgspec.structs.replace(asked, state="passed", ended_at=float(n))
        drills.done(house.store, done, now=float(n))
    kept = drills.results(house.store)["MCP-001"]
    assert [each.ended_at for each in kept] == [float(n) for n in range(drills.KEPT + 4, 4, -1)]
    assert drills.proven(house.store) == {"MCP-001": float(drills.KEPT + 4)}
