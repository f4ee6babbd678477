"""Incidents at a running gateway of two workers: over HTTP, from a terminal, for whom policy allows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.deployment import Answer, Deployment, until

POLICY = """\
package airlock

import rego.v1

decision := {"allow": true, "reason": "responder", "rule": "responders"} if {
	"responder" in input.subject.roles
	input.action in {"admin:incidents.read", "admin:incidents.write"}
} else := {"allow": true, "reason": "everybody", "rule": "blind"} if {
	"blind" in input.subject.roles
} else := {"allow": false, "reason": "nobody", "rule": "default"}
"""
AT = "/api/v1/incidents"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "policy").mkdir()
    (folder / "policy" / "decision.rego").write_text(POLICY)
    with Deployment(folder, policy={"path": "policy"}) as deployment:
        yield deployment


def ask(
    gateway: Deployment, method: str, path: str, body: object = None, *, role: str = "admin", **headers: str
) -> Answer:
    """One request, on a connection of its own: whichever worker takes it."""
    fields = {"Authorization": f"Bearer {gateway.token(roles=[role])}"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    payload = None if body is None else json.dumps(body).encode()
    return gateway.send(method, path, payload, fields)


def opened(gateway: Deployment, title: str) -> dict[str, Any]:
    answer = ask(gateway, "POST", AT, {"title": title, "type": "service_outage", "severity": "P1"})
    assert answer.status == 201
    return answer.json["incident"]


def test_every_event_stands_in_the_audit_log_under_the_id_of_its_incident(gateway: Deployment) -> None:
    id = opened(gateway, "Nobody can log in")["id"]
    assert ask(gateway, "POST", f"{AT}/{id}/notes", {"text": "It is the disk"}).status == 201

    def recorded() -> list[dict[str, Any]] | None:
        events = ask(gateway, "GET", f"{AT}/{id}/timeline").json["events"]
        return events if all(event["audit_seq"] for event in events) else None

    events: list[dict[str, Any]] = until(recorded, what="every event is in the log")
    rows = gateway.recorded("action = 'incident_event' AND correlation_id = ?", id, count=len(events))
    places = {(row["chain_uid"], row["seq"]) for row in rows}
    assert {(event["chain_uid"], event["audit_seq"]) for event in events} == places


def test_a_key_counts_at_every_worker(gateway: Deployment) -> None:
    id = opened(gateway, "Twice")["id"]
    answers = [
        ask(gateway, "POST", f"{AT}/{id}/notes", {"text": "once"}, idempotency_key="desk-1") for _ in range(6)
    ]
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, *["true"] * 5]
    other = ask(gateway, "POST", f"{AT}/{id}/notes", {"text": "twice"}, idempotency_key="desk-1")
    assert (other.status, other.json["code"]) == (409, "idempotency_conflict")
    assert len(ask(gateway, "GET", f"{AT}/{id}/notes").json["events"]) == 1


def test_a_change_of_what_was_changed_meanwhile_is_refused(gateway: Deployment) -> None:
    record = opened(gateway, "Contended")
    path = f"{AT}/{record['id']}"
    seen = ask(gateway, "GET", path).headers["etag"]
    assert ask(gateway, "PATCH", path, {"eta": "soon"}, if_match=seen).status == 200
    late = ask(gateway, "PATCH", path, {"eta": "later"}, if_match=seen)
    assert (late.status, late.json["code"]) == (412, "version_conflict")
    assert ask(gateway, "GET", path).json["incident"]["eta"] == "soon"


def test_policy_opens_to_a_role_what_it_names_and_nothing_else(gateway: Deployment) -> None:
    id = opened(gateway, "Shared")["id"]
    assert ask(gateway, "GET", f"{AT}/{id}", role="responder").status == 200
    assert ask(gateway, "POST", f"{AT}/{id}/declare", role="responder").status == 200
    order = {"action": "subject.suspend", "selector": {"subject": "mallory"}, "reason": "x"}
    refused = ask(gateway, "POST", "/api/v1/leases", order, role="responder")
    assert (refused.status, refused.json["code"]) == (403, "admin_role_required")
    assert "admin:leases.write" in refused.json["detail"]


def test_a_policy_that_looks_at_no_action_opens_nothing(gateway: Deployment) -> None:
    assert ask(gateway, "GET", AT, role="blind").status == 403
    assert ask(gateway, "GET", AT, role="developer").status == 403


def test_the_document_of_the_api_is_served(gateway: Deployment) -> None:
    document = ask(gateway, "GET", "/api/v1/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert document["paths"][f"{AT}/{{id}}/resolve"]["post"]["x-permission"] == "incidents.write"
    doors = ask(gateway, "GET", "/admin/routes").json["routes"]
    auth = {(door["method"].lower(), door["path"]): door["auth"] for door in doors}
    managed = {door for door, who in auth.items() if who == "admin"}
    described = {(verb, path): of for path, verbs in document["paths"].items() for verb, of in verbs.items()}
    everybodys = {door for door, of in described.items() if of["x-permission"] is None}
    assert managed == described.keys() - everybodys
    assert {auth[door] for door in everybodys} == {"bearer"}


def test_a_terminal_and_the_api_speak_of_the_same_incident(gateway: Deployment) -> None:
    token = gateway.token(roles=["admin"])

    def run(*words: str) -> tuple[int, str, str]:
        command = ("incident", *words, "--config", str(gateway.config), "--token", token)
        done = gateway.airlock(*command)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = run("open", "From a terminal", "--id", "INC-20260101-210700", "--severity", "P2")
    assert (code, out) == (0, "Incident ID: INC-20260101-210700\n")
    assert ask(gateway, "GET", f"{AT}/INC-20260101-210700").json["incident"]["title"] == "From a terminal"
    code, _, said = run("resolve", "INC-20260101-210700")
    assert (code, "resolve is refused; missing:" in said) == (1, True)
