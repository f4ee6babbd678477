"""Policy panics in a running gateway: two people let read-only calls pass, each of which is judged later."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults import Seam, policy_panics
from tests.system.deployment import Answer, Deployment, until
from tests.system.recorder import Recorder


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def seam(tmp_path_factory: pytest.TempPathFactory) -> Seam:
    return Seam(tmp_path_factory.mktemp("seam"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder, seam: Seam) -> Iterator[Deployment]:
    low = {"transport": "http", "url": upstream.url, "sensitivity": "low"}
    deployment = Deployment(
        tmp_path_factory.mktemp("fail-open"),
        [{"name": "reads", **low, "read_only": True}, {"name": "writes", **low}],
        policy={"cache_ttl": 0},
        incident={"engine": True},
    )
    deployment.environment = seam.environment
    with deployment:
        yield deployment


def admin(gateway: Deployment, subject: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.token(subject, roles=['admin'], signed_in=True)}"}


def ask(gateway: Deployment, path: str, body: object = None, *, who: str = "ada") -> Answer:
    if body is None:
        return gateway.get(path, admin(gateway, who))
    return gateway.send("POST", path, json.dumps(body).encode(), admin(gateway, who))


def call(gateway: Deployment, server: str, who: str = "") -> Answer:
    subject = who or f"caller-{uuid.uuid4().hex[:8]}"
    return gateway.call(f"{server}__echo", {"text": "hello"}, gateway.token(subject))


def passes(gateway: Deployment, server: str, who: str = "") -> bool:
    return (
        "isError" not in (result := call(gateway, server, who).json.get("result", {}))
        or not result["isError"]
    )


def propose(gateway: Deployment, incident: str, **more: str) -> Answer:
    order = {"action": "failmode.open", "selector": {"tools": "read-only"}, "ttl": "10m",
             "reason": "policy is down", "incident": incident, **more}  # fmt: skip
    return ask(gateway, "/api/v1/proposals", order)


def approve(gateway: Deployment, proposal: dict[str, Any], who: str) -> Answer:
    return ask(
        gateway, f"/api/v1/proposals/{proposal['id']}/approve", {"digest": proposal["digest"]}, who=who
    )


def test_two_people_fail_open_and_every_call_is_judged(gateway: Deployment, seam: Seam) -> None:
    workers = until(
        lambda: len(found := gateway.children("airlock.worker")) == 2 and found, what="two workers"
    )
    until(lambda: all(passes(gateway, "reads") for _ in range(6)), what="both workers serve")
    opened = {"title": "Policy answers nothing", "type": "policy_failure", "severity": "P1"}
    incident = ask(gateway, "/api/v1/incidents", opened).json["incident"]["id"]
    assert propose(gateway, incident).json["code"] == "engine_healthy"

    with policy_panics(seam, workers, lambda: call(gateway, "reads")):

        def proposed() -> Any:
            call(gateway, "reads")
            answer = propose(gateway, incident)
            return answer.json if answer.status == 201 else None

        proposal = until(proposed, what=f"MCP-024\n{gateway.tail()}")["proposal"]
        assert call(gateway, "reads").refusal["code"] == 50302
        assert approve(gateway, proposal, "ada").status == 202
        assert approve(gateway, proposal, "ada").json["code"] == "approved_already"
        assert call(gateway, "reads").refusal["code"] == 50302
        assert approve(gateway, proposal, "bob").json["proposal"]["state"] == "ACTIVE"

        until(lambda: all(passes(gateway, "reads", "passer") for _ in range(4)), what="calls that pass")
        assert call(gateway, "writes").refusal["code"] == 50302
        assert propose(gateway, incident).status == 201
        policy = until(
            lambda: (
                (found := gateway.get("/ready").json["components"]["policy"])["state"] == "degraded" and found
            )
        )
        assert "fail open until" in policy["reason"]
        shown = gateway.airlock(
            "failmode", "show", "--config", "airlock.yaml", "--token", gateway.token("ada", roles=["admin"])
        )
        assert shown.returncode == 1

    closed = gateway.airlock(
        "failmode",
        "set",
        "closed",
        "--config",
        "airlock.yaml",
        "--token",
        gateway.token("ada", roles=["admin"]),
    )
    assert closed.returncode == 0, closed.stderr
    assert gateway.recorded("action = 'approval' AND reason = 'grant_given'")[0]["severity"] == "CRITICAL"
    assert gateway.recorded("action = 'approval' AND reason = 'self_approval_refused'")
    rows = gateway.recorded("subject = 'passer' AND reason = 'fail_open'", count=4)
    assert {row["severity"] for row in rows} == {"CRITICAL"}

    def judged() -> Any:
        owed = ask(gateway, f"/api/v1/incidents/{incident}/debt").json
        mine = [each for each in owed["debt"] if each["subject"] == "passer"]
        return len(mine) >= 4 and not owed["open"] and mine

    states = {each["state"] for each in until(judged, what=f"every call judged\n{gateway.tail()}")}
    assert states == {"upheld"}
    events = ask(gateway, f"/api/v1/incidents/{incident}/timeline").json["events"]
    assert any("were judged" in event["summary"] for event in events)
