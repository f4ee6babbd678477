"""After an incident, at a running gateway: verified, resolved, watched, and opened again by trouble."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import program
from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

SERVER = {"transport": "http", "sensitivity": "low", "read_only": True}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Recorder() as upstream:
        servers = [{**SERVER, "name": "files", "url": upstream.url}]
        settings = {"engine": True, "auto_open": False, "agents_tenant": "ops"}
        folder = tmp_path_factory.mktemp("recovery")
        with Deployment(folder, servers, incident=settings) as deployment:
            yield deployment


def run(gateway: Deployment, *words: str, **variables: str) -> Result:
    environment = {"AIRLOCK_TOKEN": gateway.token("olga", roles=["admin"]), "NO_PROXY": "*", **variables}
    command = [*words, "--config", str(gateway.config)]
    return CliRunner().invoke(program(), command, env=environment)


def told(gateway: Deployment, *words: str) -> Any:
    result = run(gateway, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def mitigated(gateway: Deployment, title: str) -> str:
    """An incident that is mitigated and not verified yet."""
    words = ("--severity", "P1", "--type", "policy_failure", "--commander", "olga")
    id: str = told(gateway, "incident", "open", title, *words)["incident"]["id"]
    told(gateway, "incident", "declare", id)
    told(gateway, "incident", "mitigate", id, "--action", "rolled back")
    return id


def leases_of(gateway: Deployment, id: str) -> list[str]:
    found = told(gateway, "lease", "list")["leases"]
    return [each["action"] for each in found if each["incident"] == id]


def missing(result: Result) -> set[str]:
    lines = [line.strip() for line in result.stderr.splitlines()[1:]]
    return {line.partition(":")[0] for line in lines if line}


def test_an_incident_is_resolved_once_it_is_verified_and_opened_again_by_failing_calls(
    gateway: Deployment,
) -> None:
    id = mitigated(gateway, "Calls fail")
    refused = run(gateway, "incident", "resolve", id)
    assert (refused.exit_code, missing(refused)) == (1, {"verification", "monitoring"})

    part = run(gateway, "incident", "verify", id, "--check", "live", "--check", "ready")
    assert (part.exit_code, part.stdout.count("ok  ")) == (0, 2), part.output
    still = run(gateway, "incident", "resolve", id, "--watch", "24h")
    assert "metrics, e2e, performance, security" in still.stderr
    assert leases_of(gateway, id) == [], "a step that is refused leaves no lease"

    quick = {"RATE": "5", "DURATION_S": "1", "P95_MS": "5000"}
    found = run(gateway, "incident", "verify", id, "--json", **quick)
    assert found.exit_code == 0, found.output
    runs = {each["check"]: each["passed"] for each in json.loads(found.stdout)["runs"]}
    assert runs == dict.fromkeys(("live", "ready", "metrics", "e2e", "performance", "security"), True)

    resolved = told(gateway, "incident", "resolve", id, "--watch", "24h")
    assert resolved["incident"]["status"] == "RESOLVED"
    assert leases_of(gateway, id) == ["monitoring.enhance"]

    token = gateway.token()
    for _ in range(8):
        gateway.call("files__status500", {}, token)

    def again() -> Any:
        record = told(gateway, "incident", "show", id)["incident"]
        return record if record["status"] == "INVESTIGATING" else None

    until(again, within=60, what=f"the incident is open again\n{gateway.tail()}")
    timeline = told(gateway, "incident", "show", id)["events"]
    reason = next(each["summary"] for each in timeline if "Reopened" in each["summary"])
    assert "calls failed within 60 s while it was watched" in reason


def test_one_suite_is_noted_where_it_runs(gateway: Deployment) -> None:
    id = mitigated(gateway, "One suite")
    variables = {
        "AIRLOCK_URL": gateway.url,
        "TEST_TOKEN": gateway.token("synthetic", roles=["viewer"]),
        "ADMIN_TOKEN": gateway.token("olga", roles=["admin"]),
    }
    done = run(gateway, "verify", "e2e", "--incident", id, **variables)
    assert done.exit_code in (0, 1), done.output  # whether the server is well depends on who broke it before
    events = told(gateway, "incident", "show", id)["events"]
    noted = [each["details"] for each in events if each["kind"] == "verification_run"]
    assert [(each["check"], each["passed"], each["exit"]) for each in noted] == [
        ("e2e", done.exit_code == 0, done.exit_code)
    ]
    assert {each["check"] for each in noted[0]["seen"]} >= {"live", "call", "audit_row"}


def test_agents_of_responders_read_incidents_and_nobody_else_does(gateway: Deployment) -> None:
    id = mitigated(gateway, "Agents look")
    reader, other = gateway.token("robot", "ops", roles=["admin"]), gateway.token("robot", roles=["admin"])
    tools = [f"airlock-incidents__{name}" for name in ("list", "show", "timeline")]
    assert set(tools) <= set(gateway.tools(reader))
    assert not [tool for tool in gateway.tools(other) if "incidents" in tool]
    assert gateway.call(tools[0], {}, other).json["error"]["code"] == -32602

    listed = json.loads(gateway.call(tools[0], {}, reader).text)["incidents"]
    assert [each["status"] for each in listed if each["id"] == id] == ["MONITORING"]
    shown = json.loads(gateway.call(tools[1], {"id": id}, reader).text)
    assert (shown["incident"]["id"], shown["containment"]) == (id, "NONE")
    assert {clock["name"] for clock in shown["clocks"]} >= {"response"}
    events = json.loads(gateway.call(tools[2], {"id": id, "after": 1}, reader).text)["events"]
    assert [each["seq"] for each in events] == list(range(2, 2 + len(events)))
    unknown = gateway.call(tools[1], {"id": "INC-20000101-000000"}, reader).json["result"]
    assert unknown["isError"]
    assert gateway.recorded("tool_name = 'show' AND server_id = 'airlock-incidents'", count=2)


def test_a_contained_caller_is_told_the_truth(gateway: Deployment) -> None:
    id = mitigated(gateway, "Contained")
    told(gateway, "contain", "tool.quarantine", "--selector", "server=files", "--selector", "tool=huge",
         "--reason", "drift", "--ttl", "10m", "--incident", id)  # fmt: skip
    refusal = gateway.call("files__huge", {}, gateway.token()).refusal
    assert (refusal["code"], refusal["reason"]) == (40302, "contained")
    assert refusal["scope"] == {"kind": "tool", "server": "files", "name": "huge"}
    assert refusal["incident_id"] == id
    assert (refusal["effect"], refusal["retryable"]) == ("none", True)
    assert 0 < refusal["retry_after"] <= 600
    assert refusal["expires_at"].endswith("Z")
    assert "another tool" in refusal["advice"]
