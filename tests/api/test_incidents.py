"""Incidents over HTTP: opened, listed, completed, worked on, and every step with its guard."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.clock import rfc3339
from airlock.incident.occasion import Facts, Verification
from airlock.model.incident import Incident
from airlock.model.lease import read_selector
from airlock.store import incidents, leases
from airlock.store.database import Store
from tests.api.containing import House
from tests.api.doors import ADMIN
from tests.gateway.parts import NOW

AT = "/api/v1/incidents"
TYPED = "INC-20261128-210700"
ME = f"{ADMIN.issuer}|{ADMIN.subject}"
OUTAGE: dict[str, Any] = {"title": "Nobody can log in", "type": "service_outage", "severity": "P1"}
ANSWERED: dict[str, Any] = {
    **OUTAGE,
    "affected_users": "all",
    "security_implications": "none",
    "business_impact": "no calls",
    "commander": ME,
    "ticket_url": "https://tickets.example/7",
}


def opened(house: House, **more: object) -> dict[str, Any]:
    status, answer = house.ask("POST", AT, {**ANSWERED, "id": TYPED, **more})
    assert status == 201
    return answer["incident"]


def step(house: House, path: str, body: object = b"", **headers: str) -> tuple[int, Any]:
    return house.ask("POST", f"{AT}/{TYPED}/{path}", body, **headers)


def kinds(house: House) -> list[str]:
    return [event["kind"] for event in house.ask("GET", f"{AT}/{TYPED}/timeline")[1]["events"]]


def test_an_incident_is_opened_and_shown(house: House) -> None:
    record = opened(house)
    assert (record["id"], record["severity"], record["status"]) == (TYPED, "P1", "TRIAGE")
    assert (record["public_status"], record["opened_at"]) == ("INVESTIGATING", rfc3339(NOW))
    status, shown = house.ask("GET", f"{AT}/{TYPED}")
    assert (status, shown["incident"], shown["containment"]) == (200, record, "NONE")
    assert {each["name"]: each["seconds"] for each in shown["durations"]}["resolve"] is None
    assert house.headers["etag"] == f'"{record["version"]}"'
    assert kinds(house)[0] == "detected"


def test_a_typed_id_is_one_incident_however_often_it_is_opened(house: House) -> None:
    first = opened(house)
    status, answer = house.ask("POST", AT, {**OUTAGE, "id": TYPED, "title": "Another title"})
    assert (status, answer["incident"]) == (200, first)


def test_incidents_of_one_second_have_different_ids(house: House) -> None:
    ids = [house.ask("POST", AT, OUTAGE)[1]["incident"]["id"] for _ in range(3)]
    assert ids[1:] == [f"{ids[0]}-2", f"{ids[0]}-3"]


@pytest.mark.parametrize(
    ("order", "word"),
    [
        ({"id": "INC-1"}, "incident_id_invalid"),
        ({"id": "INC-20261399-210700"}, "incident_id_invalid"),
        ({"type": "flood"}, "invalid_params"),
        ({"severity": "P9"}, "invalid_params"),
        ({"titel": "x"}, "invalid_params"),
        ({"detected_at": "yesterday"}, "invalid_params"),
        ({"detected_at": rfc3339(NOW + 3600)}, "time_invalid"),
    ],
)
def test_an_order_that_is_wrong_opens_nothing(house: House, order: dict[str, Any], word: str) -> None:
    assert house.ask("POST", AT, {**OUTAGE, **order}) == (422, word)
    assert house.ask("GET", f"{AT}?state=all") == (200, {"incidents": []})


def test_times_may_be_written_as_people_do(house: House) -> None:
    record = opened(house, detected_at=rfc3339(NOW - 60), estimated_start=NOW - 3600)
    assert (record["detected_at"], record["estimated_start"]) == (rfc3339(NOW - 60), rfc3339(NOW - 3600))


@pytest.mark.parametrize("body", [b"[]", b"x", b'{"title":"a","title":"b"}'])
def test_what_is_no_object_is_no_order(house: House, body: bytes) -> None:
    assert house.ask("POST", AT, body)[0] == 400


def test_the_list_has_open_ones_unless_all_are_asked_for(house: House) -> None:
    opened(house)
    step(house, "cancel", {"verdict": "test"})
    house.ask("POST", AT, OUTAGE)
    listed = house.ask("GET", AT)[1]["incidents"]
    assert [row["status"] for row in listed] == ["TRIAGE"]
    assert len(house.ask("GET", f"{AT}?state=all")[1]["incidents"]) == 2
    assert len(house.ask("GET", f"{AT}?state=all&limit=1")[1]["incidents"]) == 1


@pytest.mark.parametrize("query", ["state=closed", "limit=0", "limit=x", "all", "state=all&state=all", "x=1"])
def test_a_query_that_is_not_understood(house: House, query: str) -> None:
    assert house.ask("GET", f"{AT}?{query}") == (422, "invalid_params")


@pytest.mark.parametrize("path", ["", "/timeline", "/notes", "/clocks", "/tasks", "/roles", "/actions"])
def test_what_is_not_there_is_not_shown(house: House, path: str) -> None:
    assert house.ask("GET", f"{AT}/{TYPED}{path}") == (404, "incident_unknown")


def test_nothing_happens_to_what_is_not_there(house: House) -> None:
    assert step(house, "acknowledge") == (404, "incident_unknown")


def test_facts_are_completed_and_the_rest_stays(house: House) -> None:
    opened(house)
    status, answer = house.ask("PATCH", f"{AT}/{TYPED}", {"root_cause": "a full disk"})
    assert (status, answer["incident"]["root_cause"]) == (200, "a full disk")
    assert answer["incident"]["title"] == OUTAGE["title"]


def test_who_decided_about_another_version_changes_nothing(house: House) -> None:
    version = opened(house)["version"]
    assert step(house, "acknowledge", if_match=f'"{version + 1}"') == (412, "version_conflict")
    assert step(house, "acknowledge", if_match="W/x") == (412, "version_conflict")
    assert step(house, "acknowledge", if_match=f'"{version}"')[0] == 200
    assert step(house, "flags", {"flags": ["customer_impact"]}, if_match=f'"{version}"') == (
        412,
        "version_conflict",
    )
    assert step(house, "flags", {"flags": ["customer_impact"]}, if_match="*")[0] == 200


def test_a_step_that_is_not_allowed_yet_says_everything_that_is_missing(house: House) -> None:
    opened(house)
    status, answer = _problem(house, "resolve")
    assert (status, answer["code"], answer["event"]) == (409, "guard_failed", "resolve")
    assert [each["key"] for each in answer["missing"]] == ["status"]
    assert "TRIAGE" in answer["missing"][0]["text"]


def test_an_incident_goes_its_way(house: House) -> None:
    opened(house)
    assert step(house, "declare")[1]["incident"]["status"] == "INVESTIGATING"
    evidence = {"hypothesis": "a full disk", "evidence": ["row-1"]}
    assert step(house, "identify", evidence)[1]["incident"]["status"] == "IDENTIFIED"
    assert step(house, "mitigate", {"action": "made room"})[1]["incident"]["status"] == "MONITORING"
    missing = {each["key"] for each in _problem(house, "resolve")[1]["missing"]}
    assert "verification" in missing
    house.facts = Facts(verification=Verification(at=NOW), monitoring_until=NOW + 86400.0, containments=1)
    status, answer = step(house, "resolve", {"root_cause": "a full disk", "resolution": "a larger one"})
    assert (status, answer["incident"]["public_status"]) == (200, "RESOLVED")
    status, answer = step(house, "reopen", {"reason": "it is full again"})
    assert (status, answer["incident"]["status"]) == (200, "INVESTIGATING")


def test_severity_is_raised_by_anybody_and_lowered_by_the_commander(house: House) -> None:
    opened(house, commander="somebody else")
    assert step(house, "severity", {"severity": "P0", "reason": "worse"})[0] == 200
    status, answer = _problem(house, "severity", {"severity": "P2", "reason": "better"})
    assert (status, [each["key"] for each in answer["missing"]]) == (409, ["commander"])


def test_whoever_takes_a_role_without_a_name_takes_it_for_themselves(house: House) -> None:
    opened(house)
    assert step(house, "roles", {"role": "scribe"})[0] == 200
    roles = house.ask("GET", f"{AT}/{TYPED}/roles")[1]["roles"]
    assert ("scribe", ME) in [(role["role"], role["person"]) for role in roles]
    assert step(house, "roles/scribe/renounce")[0] == 200
    assert step(house, "roles/jester/renounce") == (422, "invalid_params")


def test_tasks_are_added_and_done(house: House) -> None:
    opened(house)
    order = {"key": "call-the-bank", "text": "Call the bank", "due_at": rfc3339(NOW + 60)}
    assert step(house, "tasks", order)[0] == 200
    assert step(house, "tasks/call-the-bank/done", {"note": "called"})[0] == 200
    tasks = {task["key"]: task for task in house.ask("GET", f"{AT}/{TYPED}/tasks")[1]["tasks"]}
    assert tasks["call-the-bank"]["due_at"] == rfc3339(NOW + 60)
    assert tasks["call-the-bank"]["done_at"] == rfc3339(NOW)


def test_what_people_write_stands_on_the_timeline(house: House) -> None:
    opened(house)
    note = {"kind": "hypothesis", "text": "the disk\x1b[31m", "occurred_at": rfc3339(NOW - 5)}
    status, answer = step(house, "notes", note)
    assert (status, answer["events"][0]["kind"]) == (201, "hypothesis")
    assert answer["events"][0]["actor"] == {"type": "human", "id": ME}
    notes = house.ask("GET", f"{AT}/{TYPED}/notes")[1]["events"]
    assert [event["occurred_at"] for event in notes] == [rfc3339(NOW - 5)]
    after = house.ask("GET", f"{AT}/{TYPED}/timeline?after={notes[0]['seq'] - 1}")[1]["events"]
    assert after == notes


def test_action_items_are_numbered_by_the_record(house: House) -> None:
    opened(house)
    item = {"text": "Watch the disk", "kind": "alert", "owner": "ops", "due": "2026-12-24"}
    assert step(house, "actions", item)[0] == 200
    (found,) = house.ask("GET", f"{AT}/{TYPED}/actions")[1]["actions"]
    assert (found["id"], found["owner"], found["closed_at"]) == ("A-1", "ops", None)
    assert step(house, "actions/A-1/close")[0] == 200
    assert step(house, "actions/A-2/close") == (422, "action_item_unknown")


def test_the_review_is_written(house: House) -> None:
    opened(house)
    said = {"occurrence": "nobody looked", "went_well": ["the page"], "scheduled_for": rfc3339(NOW + 60)}
    assert house.ask("POST", f"/api/v1/reviews/{TYPED}", said)[0] == 200
    review = house.ask("GET", f"/api/v1/reviews/{TYPED}")[1]["review"]
    assert (review["whys"]["occurrence"], review["scheduled_for"]) == ("nobody looked", rfc3339(NOW + 60))


def test_clocks_are_those_of_the_severity_of_duties_and_of_leases(house: House) -> None:
    opened(house)
    with house.store.change("leases") as change:
        leases.activate(
            change,
            action="subject.suspend",
            selector=read_selector("subject.suspend", {"subject": "mallory"}),
            ttl=None,
            reason="x",
            actor="ops",
            origin="api",
            now=NOW,
            incident=TYPED,
        )
    order = {"id": "gdpr", "trigger": "awareness", "at": rfc3339(NOW)}
    assert step(house, "clocks", order)[0] == 200
    clocks = {clock["name"]: clock for clock in house.ask("GET", f"{AT}/{TYPED}/clocks")[1]["clocks"]}
    assert clocks["response"]["due_at"] == rfc3339(NOW + 3600)
    duty = next(clock for name, clock in clocks.items() if name.startswith("gdpr:"))
    assert duty["due_at"] == rfc3339(NOW + 72 * 3600)
    assert [clock["state"] for clock in clocks.values() if clock["kind"] == "lease"] == ["running"]
    stage = duty["name"].partition(":")[2]
    assert step(house, "clocks/met", {"id": "gdpr", "stage": stage})[0] == 200
    assert step(house, "clocks", {"id": "nowhere", "trigger": "awareness"})[0] == 422


def test_whoever_reads_writes_down_what_is_late(house: House) -> None:
    """Nothing else was awake: the breach stands at the time at which it was due."""
    opened(house)
    house.clock.seconds += 2 * 3600
    clocks = {each["name"]: each for each in house.ask("GET", f"{AT}/{TYPED}/clocks")[1]["clocks"]}
    assert (clocks["response"]["state"], clocks["response"]["breached_at"]) == (
        "breached",
        rfc3339(NOW + 3600),
    )
    house.ask("GET", f"{AT}/{TYPED}")
    events = house.ask("GET", f"{AT}/{TYPED}/timeline")[1]["events"]
    late = [each for each in events if each["kind"] == "clock_breached" and "response" in each["summary"]]
    assert [each["occurred_at"] for each in late] == [rfc3339(NOW + 3600)]


def test_an_incident_and_its_leases_go_on_in_another_one(house: House) -> None:
    opened(house)
    other = house.ask("POST", AT, OUTAGE)[1]["incident"]["id"]
    with house.store.change("leases") as change:
        given = leases.activate(
            change,
            action="subject.suspend",
            selector=read_selector("subject.suspend", {"subject": "mallory"}),
            ttl=None,
            reason="x",
            actor="ops",
            origin="api",
            now=NOW,
            incident=TYPED,
        ).lease
    assert step(house, "merge", {"into": "INC-20000101-000000"}) == (404, "incident_unknown")
    status, answer = step(house, "merge", {"into": other})
    assert (status, answer["incident"]["status"]) == (200, "MERGED")
    assert [event["refs"] for event in house.ask("GET", f"{AT}/{other}/notes")[1]["events"]] == [[TYPED]]
    moved = leases.get(house.store, id=given.id, now=NOW)
    assert moved is not None
    assert moved.incident == other


def test_nothing_is_merged_into_what_has_ended(house: House) -> None:
    opened(house)
    other = house.ask("POST", AT, {**ANSWERED, "id": "INC-20261128-210701"})[1]["incident"]["id"]
    house.ask("POST", f"{AT}/{other}/cancel", {"verdict": "test"})
    assert step(house, "merge", {"into": other}) == (409, "incident_ended")
    assert house.ask("GET", f"{AT}/{TYPED}")[1]["incident"]["status"] == "TRIAGE"


def test_a_lease_is_handed_over(house: House) -> None:
    opened(house)
    assert step(house, "owners", {"lease": "L-1", "person": "ops"})[0] == 200


def test_a_step_with_a_key_is_made_once(house: House) -> None:
    opened(house)
    note = {"text": "once"}
    first = step(house, "notes", note, idempotency_key="k1")
    assert "idempotency-replayed" not in house.headers
    assert step(house, "notes", note, idempotency_key="k1") == first
    assert house.headers["idempotency-replayed"] == "true"
    assert step(house, "notes", {"text": "twice"}, idempotency_key="k1") == (409, "idempotency_conflict")
    assert len(house.ask("GET", f"{AT}/{TYPED}/notes")[1]["events"]) == 1


def test_what_was_refused_may_be_asked_again_with_its_key(house: House) -> None:
    opened(house)
    order = {"hypothesis": "a full disk", "evidence": ["row-1"]}
    assert step(house, "identify", order, idempotency_key="k1") == (409, "guard_failed")
    assert step(house, "declare")[0] == 200
    assert step(house, "identify", order, idempotency_key="k1")[0] == 200


def test_every_change_waits_for_the_audit_log(house: House) -> None:
    opened(house)
    rows = incidents.timeline(house.store, TYPED)
    assert rows
    assert [row.audit_seq for row in rows] == [None] * len(rows)


def _problem(house: House, path: str, body: object = b"") -> tuple[int, Any]:
    status, _ = step(house, path, body)
    return status, msgspec.json.decode(house.body)


def test_nothing_becomes_true_between_the_look_and_the_decision(store: Store, tmp_path: Path) -> None:
    """A grant that is given while an incident is being resolved is either seen or refused."""
    seen: list[str] = []

    class Racing(House):
        def _gather(self, store: Store, incident: Incident, now: float) -> Facts:
            with closing(sqlite3.connect(tmp_path / "sark.db", timeout=0)) as other:
                try:
                    other.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as busy:
                    seen.append(str(busy))
            return self.facts

    house = Racing(store)
    opened(house)
    assert step(house, "acknowledge", {})[0] == 200
    assert seen == ["database is locked"]
