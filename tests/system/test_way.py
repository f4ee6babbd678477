"""The way of a call through a real gateway with two workers: what passes, what does not, what is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.deployment import Deployment
from tests.system.recorder import Recorder


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    folder: Path = tmp_path_factory.mktemp("way")
    servers = [
        {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True},
        {"name": "high", "transport": "http", "url": upstream.url, "sensitivity": "high"},
        {"name": "theirs", "transport": "http", "url": upstream.url, "sensitivity": "low", "tenant": "other"},
    ]
    with Deployment(folder, servers) as deployment:
        yield deployment


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize(("path", "tool"), [("/mcp", "low__echo"), ("/mcp/low", "echo")])
def test_an_allowed_call_reaches_the_server_and_is_recorded(
    gateway: Deployment, upstream: Recorder, modern: bool, path: str, tool: str
) -> None:
    marker = f"allowed {modern} {path} end"
    answer = gateway.call(tool, {"text": marker}, gateway.token(), path=path, modern=modern)
    assert answer.status == 200
    assert marker in answer.text
    assert [call["params"]["arguments"] for call in upstream.calls() if marker in str(call)] == [
        {"text": marker}
    ]
    row = gateway.recorded("action='tool_call' AND resource='mcp://low/echo' AND decision='allow'")[-1]
    assert row["subject"] == "alice"
    assert row["phase"] == "outcome"


def test_a_denied_tool_is_unknown_to_who_may_not_see_it(gateway: Deployment, upstream: Recorder) -> None:
    before = len(upstream.calls())
    token = gateway.token("dora", roles=["viewer"])
    answer = gateway.call("high__echo", {"text": "secret"}, token)
    unknown = gateway.call("high__nothing", {"text": "secret"}, token)
    assert answer.json["error"]["code"] == unknown.json["error"]["code"] == -32602
    assert answer.json["error"]["message"] == "Unknown tool: high__echo"
    assert unknown.json["error"]["message"] == "Unknown tool: high__nothing"
    assert len(upstream.calls()) == before
    row = gateway.recorded("subject='dora' AND tool_name='echo'")[0]
    assert row["decision"] == "deny"
    assert row["reason"].startswith("policy_denied")


def test_a_high_tool_waits_for_an_approval_that_nobody_can_give_yet(gateway: Deployment) -> None:
    answer = gateway.call("high__echo", {"text": "x"}, gateway.token("dave"))
    assert answer.refusal["code"] == 40303
    assert answer.refusal["effect"] == "none"
    assert gateway.recorded("subject='dave'")[0]["decision"] == "deny"


def test_a_list_holds_only_what_the_caller_may_see(gateway: Deployment) -> None:
    viewer, admin = (gateway.tools(gateway.token(roles=[role])) for role in ("viewer", "admin"))
    assert "low__echo" in viewer
    assert not [name for name in viewer if name.startswith(("high__", "theirs__"))]
    assert "high__echo" in admin
    assert not [name for name in admin if name.startswith("theirs__")]
    assert gateway.tools(gateway.token(roles=[])) == []


def test_another_tenants_server_does_not_exist(gateway: Deployment) -> None:
    answer = gateway.call("theirs__echo", {}, gateway.token("mallory"))
    assert answer.json["error"]["message"] == "Unknown tool: theirs__echo"
    direct = gateway.call("echo", {}, gateway.token("mallory"), path="/mcp/theirs")
    assert direct.status == 404
    assert direct.json["error"]["code"] == -32601
    rows = gateway.recorded("subject='mallory' AND reason='cross_tenant_attempt'", count=2)
    assert {row["severity"] for row in rows} == {"CRITICAL"}


def test_the_one_shot_probe_is_answered_at_once_in_plain_json(gateway: Deployment) -> None:
    body = b'{"jsonrpc":"2.0","id":"recovery-test","method":"tools/list"}'
    answer = gateway.post(body, gateway.token())
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["id"] == "recovery-test"


def test_the_clients_token_reaches_no_server(gateway: Deployment, upstream: Recorder) -> None:
    token = gateway.token()
    gateway.call("low__echo", {"text": "leak"}, token, headers={"X-Api-Key": token, "Cookie": f"t={token}"})
    seen = b"".join(repr(one.headers).encode() + one.body for one in upstream.seen)
    assert token.encode() not in seen
    assert token.rsplit(".", maxsplit=1)[-1].encode() not in seen


def test_a_sensitive_call_is_recorded_before_it_is_sent(gateway: Deployment) -> None:
    answer = gateway.call("high__echo", {"text": "x"}, gateway.token("root", roles=["admin"]))
    assert "x" in answer.text
    rows = gateway.recorded("subject='root' AND action='tool_call'", count=2)
    assert [(row["phase"], row["decision"]) for row in rows] == [("intent", None), ("outcome", "allow")]
    assert rows[0]["correlation_id"] == rows[1]["correlation_id"]


def test_progress_travels_under_the_clients_own_token(gateway: Deployment) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "low__progress", "arguments": {}, "_meta": {"progressToken": "mine"}},
    }
    answer = gateway.post(message, gateway.token(), headers={"Accept": "application/json, text/event-stream"})
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.body.count(b'"progressToken":"mine"') == 2
    assert answer.body.rstrip().split(b"data: ")[-1].startswith(b'{"jsonrpc":"2.0","id":7,"result"')
