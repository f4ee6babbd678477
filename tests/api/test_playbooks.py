"""Playbooks over HTTP: listed, tried, begun, answered by people, rolled back."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from airlock.core.config import Config
from airlock.model.incident import Alert, Finding
from airlock.model.principal import Principal
from airlock.store import alerts, incidents, leases
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from airlock.store.schema import alerts as table
from tests.api.containing import House
from tests.api.doors import ADMIN
from tests.app.play_parts import INCIDENT, Engine, opened, playbook, record
from tests.gateway.parts import NOW

SUSPEND = 'action {"id": "hold"}\nsubject.suspend(subject="${subject}", tenant="${tenant}")'
REVOKE = 'action {"id": "revoke"}\ntoken.revoke(token="abc")'
MANUAL = 'bash {"id": "look"}\nls "$SUBJECT"'
OTHER = msgspec.structs.replace(ADMIN, subject="otto", token_id="t2")


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def house(store: Store, tmp_path: Path) -> House:
    return sharing(store, tmp_path)


def sharing(store: Store, folder: Path, who: Principal = ADMIN) -> House:
    made = House(store, who=who)
    made.base = Config(data_dir=str(folder))
    return made


@pytest.fixture
def engine(store: Store, tmp_path: Path) -> Engine:
    return Engine(store, tmp_path)


def own(folder: Path, *fences: str, **front: str) -> None:
    (folder / "playbooks").mkdir(exist_ok=True)
    text = playbook(*fences).replace(
        "---\n~~~", "".join(f"{k}: {v}\n" for k, v in front.items()) + "---\n~~~", 1
    )
    (folder / "playbooks/play.md").write_text(text)


def begun(house: House, **order: Any) -> dict[str, Any]:
    status, document = house.ask("POST", "/api/v1/playbooks/play/runs", order)
    assert status == 201, document
    return document["run"]


def test_playbooks_are_listed_and_shown(house: House, tmp_path: Path) -> None:
    own(tmp_path, MANUAL)
    (tmp_path / "playbooks/bad.md").write_text("nothing")
    status, listed = house.ask("GET", "/api/v1/playbooks")
    found = {each["id"]: each for each in listed["playbooks"]}
    assert status == 200 and found["memory"]["source"] == "shipped" and found["play"]["steps"] == 1
    assert found["bad"]["problems"][0]["line"] == 1
    shown = house.ask("GET", "/api/v1/playbooks/play")[1]["playbook"]
    assert shown["plan"]["start"] == "look" and shown["text"].endswith("~~~")
    assert house.ask("GET", "/api/v1/playbooks/bad")[1]["playbook"]["plan"] is None
    assert house.ask("GET", "/api/v1/playbooks/none") == (404, "playbook_unknown")


def test_a_dry_run_tells_every_step_and_does_nothing(
    house: House, engine: Engine, store: Store, tmp_path: Path
) -> None:
    own(tmp_path, SUSPEND, MANUAL, active="false")
    order = {"dry_run": True, "mode": "unattended", "variables": {"subject": "bob"}}
    status, told = house.ask("POST", "/api/v1/playbooks/play/runs", order)
    assert status == 200 and told["dry_run"]["missing"] == ["tenant"]
    hold, look = told["dry_run"]["steps"]
    assert hold["what"] == 'subject.suspend(subject="bob", tenant="${tenant}")'
    assert (look["manual"], look["what"]) == (True, 'ls "$SUBJECT"')
    order["variables"] = {"subject": "bob", "tenant": "acme"}
    hold = house.ask("POST", "/api/v1/playbooks/play/runs", order)[1]["dry_run"]["steps"][0]
    assert (hold["needs"], hold["people"], hold["effect"]) == ("B", 1, "tighten")
    assert len(hold["dry_run"]) == 64
    assert leases.listing(store, now=NOW) == []
    assert house.ask("GET", "/api/v1/playbooks/*/runs")[1] == {"runs": []}


def test_a_run_asks_for_each_step_and_every_answer_is_kept(
    house: House, engine: Engine, store: Store, tmp_path: Path
) -> None:
    own(tmp_path, SUSPEND, MANUAL)
    record(store)
    run = begun(house, incident=INCIDENT, variables={"subject": "bob", "tenant": "acme"})
    assert (run["state"], run["current"]) == ("running", "hold")
    engine.carry(run["id"])
    waiting = house.ask("GET", f"/api/v1/runs/{run['id']}")[1]["run"]
    assert (waiting["state"], waiting["steps"][0]["state"], waiting["steps"][0]["people"]) == (
        "waiting",
        "waiting",
        1,
    )
    step = f"/api/v1/runs/{run['id']}/steps"
    assert house.ask("POST", f"{step}/hold", {"decision": "done"}) == (409, "decision_unfit")
    assert house.ask("POST", f"{step}/look", {"decision": "done"}) == (409, "step_not_waiting")
    assert house.ask("POST", f"{step}/nothing", {"decision": "go"}) == (404, "step_unknown")
    assert house.ask("POST", f"{step}/hold", {"decision": "maybe"}) == (422, "invalid_params")
    assert house.ask("POST", f"{step}/hold", {"decision": "go"})[0] == 200
    after = engine.carry(run["id"])
    assert (after.run.current, after.journal["look"].state) == ("look", "waiting")
    assert house.ask("POST", f"{step}/look", {"decision": "go"}) == (409, "decision_unfit")
    answer = {"decision": "done", "output": "two files\n"}
    status, document = house.ask("POST", f"{step}/look", answer)
    look = document["run"]["steps"][1]
    assert status == 200 and document["run"]["state"] == "succeeded"
    assert look["output"] == "two files\n" and len(look["output_digest"]) == 64
    assert house.ask("POST", f"{step}/look", answer) == (409, "run_ended")
    kinds = [each.event.kind for each in incidents.timeline(store, INCIDENT)]
    assert kinds == ["playbook_step"] * 4
    listed = house.ask("GET", f"/api/v1/playbooks/play/runs?incident={INCIDENT}")[1]["runs"]
    assert [each["id"] for each in listed] == [run["id"]]


def test_two_people_are_two_people(house: House, engine: Engine, store: Store, tmp_path: Path) -> None:
    own(tmp_path, SUSPEND.replace('"hold"', '"hold", "approvals": 2'))
    run = begun(house, variables={"subject": "bob", "tenant": "acme"})
    engine.carry(run["id"])
    path, go = f"/api/v1/runs/{run['id']}/steps/hold", {"decision": "go"}
    assert house.ask("POST", path, go)[1]["run"]["state"] == "waiting"
    assert house.ask("POST", path, go) == (409, "approved_already")
    program = msgspec.structs.replace(OTHER, actor=("agent",))
    assert sharing(store, tmp_path, program).ask("POST", path, go) == (403, "approver_automation")
    assert sharing(store, tmp_path, OTHER).ask("POST", path, go)[1]["run"]["state"] == "running"
    assert engine.carry(run["id"]).run.state == "succeeded"


def test_what_may_not_begin_is_refused_and_changes_nothing(
    house: House, store: Store, tmp_path: Path
) -> None:
    own(tmp_path, SUSPEND, active="false")
    path = "/api/v1/playbooks/play/runs"
    both = {"subject": "bob", "tenant": "acme"}
    assert house.ask("POST", path, {"variables": both}) == (409, "playbook_inactive")
    own(tmp_path, SUSPEND)
    assert house.ask("POST", path, {}) == (422, "variables_missing")
    assert house.ask("POST", path, {"variables": {"user": "x"}}) == (422, "variable_unfit")
    assert house.ask("POST", path, {"variables": {"subject": "a\nb"}}) == (422, "variable_unfit")
    assert house.ask("POST", path, {"variables": {"incident": "INC-1"}}) == (422, "variable_unfit")
    assert house.ask("POST", path, {"incident": "INC-1", "variables": both}) == (404, "incident_unknown")
    assert house.ask("POST", "/api/v1/playbooks/none/runs", {}) == (404, "playbook_unknown")
    assert house.ask("GET", "/api/v1/runs/none") == (404, "run_unknown")
    ended = msgspec.structs.replace(record(store), id="INC-20261122-190000", status="CLOSED")
    incidents.create(store, ended, ())
    assert house.ask("POST", path, {"incident": ended.id, "variables": both}) == (409, "incident_ended")
    assert house.ask("GET", "/api/v1/playbooks/*/runs")[1] == {"runs": []}


def test_the_alerts_of_the_incident_say_whom_it_is_about(house: House, store: Store, tmp_path: Path) -> None:
    own(tmp_path, SUSPEND)
    record(store)
    finding = Finding(
        rule="MCP-001", severity="P1", tenant="acme", group={"subject": "bob", "other": "x"}, summary="s",
        since=NOW, until=NOW,
    )  # fmt: skip

    alert = Alert(
        id="a1", fingerprint="f", finding=finding, state="ATTACHED", incident=INCIDENT, first_seen=NOW,
        last_seen=NOW,
    )  # fmt: skip
    keep(store, alert)
    run = begun(house, incident=INCIDENT)
    assert run["variables"] == {
        "incident": INCIDENT, "severity": "P1", "type": "security_incident", "subject": "bob",
        "tenant": "acme",
    }  # fmt: skip


def keep(store: Store, alert: Alert) -> None:
    row = {
        "id": alert.id, "fingerprint": alert.fingerprint, "rule": alert.finding.rule, "state": alert.state,
        "incident": alert.incident, "last_seen": alert.last_seen, "version": 1,
        "document": msgspec.json.encode(alert).decode(),
    }  # fmt: skip
    with store.change(INCIDENTS) as change:
        change.connection.execute(insert(table).values(**row))
    assert alerts.get(store, alert.id) == alert


def test_a_run_can_be_ended_and_its_leases_released(
    house: House, engine: Engine, store: Store, tmp_path: Path
) -> None:
    own(tmp_path, SUSPEND, REVOKE, MANUAL)
    run = begun(house, variables={"subject": "bob", "tenant": "acme"})
    path = f"/api/v1/runs/{run['id']}"
    for step in ("hold", "revoke"):
        engine.carry(run["id"])
        house.ask("POST", f"{path}/steps/{step}", {"decision": "go"})
    engine.carry(run["id"])
    assert house.ask("POST", path, {"command": "cancel", "reason": " "}) == (422, "reason_invalid")
    document = house.ask("POST", path, {"command": "cancel", "reason": "a drill"})[1]
    assert document["run"]["state"] == "cancelled"
    assert house.ask("POST", path, {"command": "cancel", "reason": "again"}) == (409, "run_ended")
    held = {lease.action: lease.id for lease in leases.listing(store, now=NOW)}
    status, back = house.ask("POST", f"{path}/rollback", {"reason": "a drill"})
    assert status in (200, 207)
    assert (back["released"], back["irreversible"]) == ([held["subject.suspend"]], [held["token.revoke"]])
    assert back["run"]["state"] == "rolled_back" and "a drill" in back["run"]["detail"]
    assert [lease.action for lease in leases.listing(store, now=NOW)] == ["token.revoke"]
    assert house.ask("POST", f"{path}/rollback", {"reason": "x"}) == (409, "run_state_unfit")


def test_a_run_that_goes_on_is_not_rolled_back(house: House, store: Store, tmp_path: Path) -> None:
    own(tmp_path, SUSPEND)
    run = begun(house, variables={"subject": "bob", "tenant": "acme"})
    path = f"/api/v1/runs/{run['id']}/rollback"
    assert house.ask("POST", path, {"reason": "x"}) == (409, "run_state_unfit")
    assert house.ask("POST", path, {"reason": ""}) == (422, "reason_invalid")


def test_manual_steps_follow_each_other_without_an_engine(house: House, tmp_path: Path) -> None:
    own(tmp_path, MANUAL, 'text {"id": "then"}\nwrite it down')
    run = begun(house)
    assert (run["state"], run["current"]) == ("waiting", "look")
    steps = f"/api/v1/runs/{run['id']}/steps"
    after = house.ask("POST", f"{steps}/look", {"decision": "skip", "reason": "nothing to see"})[1]["run"]
    assert (after["current"], after["steps"][0]["state"]) == ("then", "skipped")
    assert house.ask("POST", f"{steps}/then", {"decision": "failed"}) == (422, "reason_invalid")
    over = house.ask("POST", f"{steps}/then", {"decision": "failed", "reason": "no paper"})[1]["run"]
    assert (over["state"], over["steps"][1]["detail"]) == ("failed", "no paper")
