"""A live attack over two workers: found, an incident, and contained, without a person and without harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.deployment import Answer, Deployment, until
from tests.system.recorder import Recorder

SOURCE = "X-Forwarded-For"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("detection")
    with (
        Recorder() as upstream,
        Deployment(
            folder,
            [{"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}],
            server={"trusted_proxies": ["127.0.0.1/32"]},
            incident={"engine": True},
        ) as deployment,
    ):
        yield deployment


def admin(gateway: Deployment) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.token('operator', roles=['admin'])}"}


def asked(gateway: Deployment, path: str) -> Any:
    answer = gateway.get(path, admin(gateway))
    assert answer.status == 200, answer.body
    return answer.json


def forged(gateway: Deployment, subject: str) -> str:
    head, _, signature = gateway.token(subject).rpartition(".")
    return f"{head}.{signature[:10]}{'A' if signature[10] != 'A' else 'B'}{signature[11:]}"


def stuff(gateway: Deployment, address: str, subjects: int = 30) -> None:
    """Try the credentials of so many subjects from one address."""
    for n in range(subjects):
        gateway.post(LIST, forged(gateway, f"victim-{n}"), headers={SOURCE: address})


def alert(gateway: Deployment, rule: str, address: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        for each in asked(gateway, f"/api/v1/alerts?state=all&rule={rule}")["alerts"]:
            if each["finding"]["group"].get("source_ip") == address and each["incident"]:
                return each
        return None

    return until(found, what=f"an alert of {rule} about {address}\n{gateway.tail()}")


def test_stuffed_credentials_are_found_declared_and_blocked_on_every_worker(gateway: Deployment) -> None:
    attacker = "203.0.113.7"
    stuff(gateway, attacker)
    seen = alert(gateway, "MCP-002", attacker)
    assert seen["finding"]["severity"] == "P1"

    incident = asked(gateway, f"/api/v1/incidents/{seen['incident']}")["incident"]
    assert incident["type"] == "security_incident"
    assert "MCP-002" in incident["rules"]

    def blocked() -> bool:
        leases = asked(gateway, "/api/v1/leases")["leases"]
        return any(
            lease["selector"].get("cidr") == f"{attacker}/32" and lease["origin"] == "detector"
            for lease in leases
        )

    until(blocked, what="a block")
    for _ in range(2):  # whichever worker answers, once both look
        until(lambda: gateway.post(LIST, None, headers={SOURCE: attacker}).status == 403)
    assert gateway.post(LIST, gateway.token(), headers={SOURCE: "203.0.113.8"}).status == 200
    rows = gateway.recorded("id = ?", seen["event_ids"][0])
    assert json.loads(rows[0]["metadata"])["source_ip"] == attacker


def test_an_address_with_people_behind_it_is_only_proposed(gateway: Deployment) -> None:
    shared = "198.51.100.66"
    assert gateway.call("echo__echo", {}, gateway.token("alice"), headers={SOURCE: shared}).status == 200
    gateway.recorded("subject = 'alice' AND json_extract(metadata, '$.source_ip') = ?", shared)
    stuff(gateway, shared)
    alert(gateway, "MCP-002", shared)

    def proposed() -> str:
        for each in asked(gateway, "/api/v1/proposals")["proposals"]:
            if each["order"]["selector"].get("cidr") == f"{shared}/32":
                return each["order"]["reason"]
        return ""

    assert "principals called from this address" in until(proposed, what="a proposal")
    leases = asked(gateway, "/api/v1/leases")["leases"]
    assert all(lease["selector"].get("cidr") != f"{shared}/32" for lease in leases)


def test_an_agent_in_a_loop_is_slowed_on_every_worker_and_its_neighbour_is_not(gateway: Deployment) -> None:
    looping, neighbour = gateway.token("loop", ttl=3600), gateway.token("neighbour")

    def again(token: str) -> Answer:
        return gateway.call("low__echo", {"text": "again"}, token)

    def slowed() -> dict[str, Any] | None:
        for lease in asked(gateway, "/api/v1/leases")["leases"]:
            if lease["action"] == "ratelimit.tighten" and lease["origin"] == "detector":
                return lease
        return None

    for _ in range(160):  # beyond what a poll makes in five minutes
        again(looping)
    lease = until(slowed, within=60, what=f"a lease\n{gateway.tail()}")
    issuer = lease["selector"].pop("issuer")
    assert lease["selector"] == {"per_token": "10/min", "subject": "loop", "tenant": "acme"}
    assert (lease["actor"], lease["reason"]) == ("MCP-020", "MCP-020: An agent in a loop")

    def refused() -> dict[str, Any]:
        answer = again(looping).json["result"]
        return answer["_meta"]["dev.airlock/refusal"] if answer.get("isError") else {}

    first = until(refused, within=60, what="a refusal")
    assert (first["code"], first["reason"], first["scope"]) == (42901, "rate_limited", {"kind": "principal"})

    def workers() -> bool:
        """Another token is of no help, and each worker refuses."""
        again(gateway.token("loop"))
        found = gateway.rows(
            "SELECT DISTINCT chain_uid FROM audit_log WHERE action = 'rate_limit_hit'"
            " AND json_extract(metadata, '$.lease_id') = ?",
            lease["id"],
        )
        return len(found) == 2

    until(workers, within=60, what="refusals by both workers")
    assert [again(neighbour).json["result"].get("isError", False) for _ in range(15)] == [False] * 15

    scope = f"tenant=acme,subject=loop,issuer={issuer}"
    told = gateway.airlock("lease", "explain", scope, "--config", "airlock.yaml", **operator(gateway))
    assert f"rate.per_token: 10/min  (lease {lease['id']})" in told.stdout
    told = asked(gateway, f"/api/v1/leases/effective?scope=tenant=acme,subject=neighbour,issuer={issuer}")
    assert "rate.per_token" not in {each["setting"] for each in told["settings"]}


def operator(gateway: Deployment) -> dict[str, str]:
    """The environment of a terminal of an administrator."""
    return {"AIRLOCK_TOKEN": gateway.token("operator", roles=["admin"])}


def test_an_alert_is_worked_on_from_a_terminal(gateway: Deployment) -> None:
    token = gateway.token("operator", roles=["admin"])
    hook = {
        "version": "4",
        "alerts": [{"status": "firing", "labels": {"alertname": "DiskFull", "severity": "critical"}}],
    }
    answer = gateway.send("POST", "/api/v1/alerts/alertmanager", json.dumps(hook).encode(), admin(gateway))
    assert answer.json == {"folded": 1, "resolved": 0, "attached": 0}
    listed = gateway.airlock(
        "alert", "list", "--rule", "DiskFull", "--config", "airlock.yaml", "--token", token
    )
    id = listed.stdout.split()[0]
    assert gateway.airlock("alert", "ack", id, "--config", "airlock.yaml", "--token", token).returncode == 0
    again = gateway.airlock("alert", "ack", id, "--config", "airlock.yaml", "--token", token)
    assert again.returncode == 1
    assert "ACKNOWLEDGED" in again.stderr
