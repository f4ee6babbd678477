"""A running gateway with its engine: what happens to the leases of an incident stands on its timeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.deployment import Answer, Deployment, until


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("timeline")
    with Deployment(folder, [], server={"workers": 2}, incident={"engine": True}) as deployment:
        yield deployment


def ask(gateway: Deployment, method: str, path: str, body: object = None) -> Answer:
    token = gateway.token("operator", roles=["admin"])
    sent = None if body is None else json.dumps(body).encode()
    return gateway.send(method, path, sent, {"Authorization": f"Bearer {token}"})


def told(gateway: Deployment, id: str) -> list[dict[str, Any]]:
    return json.loads(ask(gateway, "GET", f"/api/v1/incidents/{id}/timeline").body)["events"]


def test_a_lease_is_on_the_timeline_from_its_beginning_to_its_end(gateway: Deployment) -> None:
    opened = ask(gateway, "POST", "/api/v1/incidents", {"title": "odd calls", "severity": "P1"})
    assert opened.status in (200, 201), opened.body
    id = json.loads(opened.body)["incident"]["id"]
    order = {
        "action": "ip.block",
        "selector": {"cidr": "203.0.113.7"},
        "ttl": "1h",
        "reason": "it guesses passwords",
        "incident": id,
    }
    given = ask(gateway, "POST", "/api/v1/leases", order)
    assert given.status == 200, given.body
    lease = json.loads(given.body)["lease_id"]

    def kinds() -> list[str]:
        return [each["kind"] for each in told(gateway, id) if lease in each["refs"]]

    until(lambda: kinds() == ["containment_started", "containment_succeeded"], within=30)
    assert ask(gateway, "DELETE", f"/api/v1/leases/{lease}", {"reason": "it stopped"}).status == 200
    until(lambda: "containment_released" in kinds(), within=30)
    record = json.loads(ask(gateway, "GET", f"/api/v1/incidents/{id}").body)["incident"]
    assert record["contained_at"] is not None
    until(lambda: all(each["audit_seq"] for each in told(gateway, id)), within=30)
