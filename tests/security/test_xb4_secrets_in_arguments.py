"""XB-4: an argument carries a secret to a server that has no business with it; to its own server it may go.

Mutation: without `redaction.destinations` the call reaches the server
(`tests/gateway/test_redact_request.py`, `test_without_a_demand_a_server_gets_what_it_was_sent`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.secrets_parts import GITHUB, SLACK
from tests.security.exfiltration import (
    SMALL,
    WAYS,
    Way,
    call,
    last,
    nowhere,
    rows,
    settled,
    subject,
    taken_out,
)
from tests.system.deployment import Deployment
from tests.system.recorder import Recorder, definition

ANY = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = {"get": definition("get", inputSchema=ANY)}

HIDDEN: dict[str, dict[str, Any]] = {
    "plain": {"city": GITHUB},
    "in a sentence": {"city": f"weather at {GITHUB} please"},
    "another parameter": {"city": "Oslo", "deep": [{"note": GITHUB}]},
    "a key": {"city": "Oslo", GITHUB: 1},
    "assigned": {"city": f"password={GITHUB}"},
    "base64": {"city": base64.b64encode(f"it is {GITHUB}, sir".encode()).decode()},
    "escaped": {"city": "".join(f"\\u{ord(char):04x}" for char in GITHUB)},
    "percent": {"city": "".join(f"%{ord(char):02X}" for char in GITHUB)},
    "zero width": {"city": "\u200b".join(GITHUB)},
    "json in json": {"city": json.dumps({"token": GITHUB})},
    "sample": {"city": f"example {GITHUB} sample"},
}


@pytest.fixture(scope="module")
def weather() -> Iterator[Recorder]:
    with Recorder(tools=TOOLS) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def github() -> Iterator[Recorder]:
    with Recorder(tools=TOOLS) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, weather: Recorder, github: Recorder
) -> Iterator[Deployment]:
    servers = [
        {"name": "weather", "transport": "http", "url": weather.url, "sensitivity": "low"},
        {"name": "github", "transport": "http", "url": github.url, "sensitivity": "low"},
    ]
    rules = {"destinations": {"github_token": ["github"], "slack_token": []}}
    folder = tmp_path_factory.mktemp("xb4")
    with Deployment(folder, servers, workers=1, redaction=rules, audit=SMALL) as deployment:
        yield deployment


def arrived(server: Recorder, marker: str) -> bool:
    return any(marker in json.dumps(message) for message in server.calls())


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_secret_reaches_no_server_but_its_own(gateway: Deployment, weather: Recorder, way: Way) -> None:
    who = subject()
    token = gateway.token(who)
    for name, arguments in HIDDEN.items():
        result = last(call(gateway, way, "weather__get", token, {**arguments, "who": who}))["result"]
        assert result["isError"] is True, name
        refusal = result["_meta"]["dev.airlock/refusal"]
        assert (refusal["code"], refusal["reason"]) == (40301, "policy_denied"), name
        assert refusal["policy_reason"] == "secret_to_wrong_destination", name
        assert refusal["effect"] == "none", name
    assert not arrived(weather, who)
    denied = rows(gateway, who, "tool_call", len(HIDDEN))
    assert {(row["decision"], row["reason"], row["severity"]) for row in denied} == {
        ("deny", "secret_to_wrong_destination", "HIGH")
    }
    nowhere(
        gateway, GITHUB, *(str(arguments["city"]) for arguments in HIDDEN.values() if GITHUB in arguments)
    )


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_secret_reaches_its_own_server_and_no_record_keeps_it(
    gateway: Deployment, github: Recorder, way: Way
) -> None:
    who = subject()
    result = last(call(gateway, way, "github__get", gateway.token(who), {"city": GITHUB, "who": who}))[
        "result"
    ]
    assert "isError" not in result or not result["isError"]
    seen = [message["params"]["arguments"] for message in github.calls()]
    assert {"city": GITHUB, "who": who} in seen
    settled(gateway, who, 1)
    nowhere(gateway, GITHUB)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_same_shapes_without_a_secret_pass(gateway: Deployment, weather: Recorder, way: Way) -> None:
    who = subject()
    token = gateway.token(who)
    for name, arguments in HIDDEN.items():
        harmless = json.loads(json.dumps(arguments).replace(GITHUB, "Oslo"))
        if name in ("base64", "escaped", "percent", "zero width"):
            harmless = {"city": base64.b64encode(b"the weather in Oslo today").decode()}
        result = last(call(gateway, way, "weather__get", token, {**harmless, "who": who}))["result"]
        assert "Oslo" in str(result) or "who" in str(result), name
    assert arrived(weather, who)
    settled(gateway, who, len(HIDDEN))
    said = gateway.rows("SELECT DISTINCT decision FROM audit_events WHERE subject=?", who)
    assert set(said) <= {("allow",), (None,)}


@pytest.mark.parametrize("server", ["weather", "github"])
def test_a_secret_of_nobody_reaches_nobody(gateway: Deployment, server: str) -> None:
    who = subject()
    answer = gateway.call(f"{server}__get", {"city": SLACK, "who": who}, gateway.token(who))
    assert answer.refusal["policy_reason"] == "secret_to_wrong_destination"
    nowhere(gateway, SLACK)


def test_what_came_back_of_a_secret_that_was_sent_is_taken_out(gateway: Deployment, github: Recorder) -> None:
    who = subject()
    answer = gateway.call("github__get", {"city": GITHUB, "who": who}, gateway.token(who))
    assert GITHUB not in answer.text
    assert arrived(github, who)
    assert taken_out(gateway, who)[0]["metadata"]["detectors"] == {"github_token": 1}
