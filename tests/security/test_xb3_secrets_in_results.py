"""XB-3: a result carries a secret, in every channel, kind and disguise; and each time its benign twin.

Mutation: with `redaction.detectors: []` the secret comes through (`test_without_the_control...`).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.gateway.secrets_parts import AWS, GITHUB, KINDS, NEEDLES
from tests.security.exfiltration import SMALL, WAYS, Way, call, last, nowhere, settled, subject, taken_out
from tests.system.deployment import MODERN, Deployment, envelope, until
from tests.system.recorder import Recorder, definition

HARMLESS = "nothing to see"

DESCRIBED = "AKIA" + "Z3DESCRIBEDTOOLX"
"""Stands in a definition, which the store keeps as it was approved, so that a person can compare."""

OUTPUT = {
    "type": "object",
    "properties": {"key": {"type": "string", "maxLength": 12}},
    "required": ["key"],
}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def block(said: dict[str, Any]) -> dict[str, Any]:
    return {"content": [said]}


def encoded(said: str) -> str:
    return base64.b64encode(said.encode()).decode()


RESULTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "text": lambda secret: block(text(f"The key is {secret} today.")),
    "json_text": lambda secret: block(text(json.dumps({"a": [secret]}))),
    "structured": lambda secret: {"content": [], "structuredContent": {"deep": [{"note": f"x {secret}"}]}},
    "embedded_text": lambda secret: block(
        {"type": "resource", "resource": {"uri": "file:///a", "text": f"x {secret}"}}
    ),
    "embedded_blob": lambda secret: block(
        {"type": "resource", "resource": {"uri": "file:///a", "blob": encoded(f"x {secret}")}}
    ),
    "resource_link": lambda secret: block(
        {"type": "resource_link", "uri": "file:///a", "name": "a", "description": f"x {secret}"}
    ),
    "two_blocks": lambda secret: {
        "content": [text(f"begins {secret[: len(secret) // 2]}"), text(f"{secret[len(secret) // 2 :]} ends")]
    },
    "base64": lambda secret: block(text(f"see {encoded(f'the key is {secret} today')} please")),
    "escaped": lambda secret: block(
        text('{"a": "' + "".join(f"\\u{ord(char):04x}" for char in secret) + '"}')
    ),
    "sample": lambda secret: block(text(f"sample example test {secret} sample example test")),
    "meta": lambda secret: {"content": [], "_meta": {"note": secret}},
}


def blob(result: dict[str, Any]) -> str:
    return base64.b64decode(result["content"][0]["resource"]["blob"]).decode()


TOOLS = (*RESULTS, "error", "progress", "message", "shaped", "plain")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    tools = {name: definition(name) for name in TOOLS}
    tools["shaped"] = definition("shaped", outputSchema=OUTPUT)
    tools["described"] = definition("described", description=f"Use it with {DESCRIBED}, please.")
    with Recorder(tools=tools) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    servers = [{"name": "notes", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
    with Deployment(tmp_path_factory.mktemp("xb3"), servers, workers=1, audit=SMALL) as deployment:
        yield deployment


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_channel_of_a_result_lets_a_secret_through(
    gateway: Deployment, upstream: Recorder, way: Way
) -> None:
    who = subject()
    token = gateway.token(who)
    for channel, make in RESULTS.items():
        for kind, secret in KINDS.items():
            upstream.results[channel] = make(secret)
            answer = call(gateway, way, f"notes__{channel}", token)
            result = last(answer)["result"]
            shown = answer.body.decode() + (blob(result) if channel == "embedded_blob" else "")
            assert NEEDLES[kind] not in shown, (channel, kind)
            assert "[REDACTED:" in shown, (channel, kind)
    rows = taken_out(gateway, who, len(KINDS) * len(RESULTS))
    assert all(row["redaction_count"] >= 1 and row["decision"] is None for row in rows)
    assert {row["tool_name"] for row in rows} == set(RESULTS)
    nowhere(gateway, *NEEDLES.values())


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_same_shapes_without_a_secret_pass_unchanged(
    gateway: Deployment, upstream: Recorder, way: Way
) -> None:
    who = subject()
    token = gateway.token(who)
    for channel, make in RESULTS.items():
        upstream.results[channel] = make(HARMLESS)
        result = last(call(gateway, way, f"notes__{channel}", token))["result"]
        shown = json.dumps(result["content"]).replace("mcp+notes:", "") if way.federated else ""
        assert (json.loads(shown) if shown else result["content"]) == make(HARMLESS)["content"], channel
        assert result.get("structuredContent") == make(HARMLESS).get("structuredContent")
    settled(gateway, who, len(RESULTS))
    assert gateway.rows("SELECT 1 FROM audit_events WHERE subject=? AND action='redact_data'", who) == []


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_error_lets_no_secret_through(gateway: Deployment, upstream: Recorder, way: Way) -> None:
    who = subject()
    token = gateway.token(who)
    for kind, secret in KINDS.items():
        upstream.errors["error"] = {"code": 7, "message": f"no {secret}", "data": {"deep": [secret]}}
        answer = call(gateway, way, "notes__error", token)
        assert "error" in last(answer)
        assert NEEDLES[kind] not in answer.body.decode(), kind
    rows = taken_out(gateway, who, len(KINDS))
    assert all(row["redaction_count"] == 2 for row in rows)
    upstream.errors["error"] = {"code": 7, "message": HARMLESS, "data": {"deep": [HARMLESS]}}
    twin = last(call(gateway, way, "notes__error", token))["error"]
    assert twin["message"] == HARMLESS
    nowhere(gateway, *NEEDLES.values())


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_progress_and_log_lines_let_no_secret_through(
    gateway: Deployment, upstream: Recorder, way: Way
) -> None:
    who = subject()
    token = gateway.token(who)
    for kind, secret in KINDS.items():
        upstream.notices["progress"] = [
            ("notifications/progress", {"progress": 1, "message": f"at {secret}"}),
            ("notifications/message", {"level": "info", "data": f"log {secret}"}),
            ("notifications/progress", {"progress": 2, "message": HARMLESS}),
        ]
        answer = call(gateway, way, "notes__progress", token)
        shown = answer.body.decode()
        assert "result" in last(answer)
        assert NEEDLES[kind] not in shown, kind
        assert shown.count("notifications/progress") == 2
        assert '"progressToken":"mine"' in shown
        assert HARMLESS in shown
    assert all(row["redaction_count"] >= 1 for row in taken_out(gateway, who, len(KINDS)))
    nowhere(gateway, *NEEDLES.values())


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_secret_over_two_progress_messages_is_not_completed(
    gateway: Deployment, upstream: Recorder, way: Way
) -> None:
    who = subject()
    upstream.notices["progress"] = [
        ("notifications/progress", {"progress": 1, "message": f"key {GITHUB[:20]}"}),
        ("notifications/progress", {"progress": 2, "message": f"{GITHUB[20:]} end"}),
    ]
    answer = call(gateway, way, "notes__progress", gateway.token(who))
    assert GITHUB[20:] not in answer.body.decode()
    assert taken_out(gateway, who)[0]["metadata"]["detectors"] == {"github_token": 1}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_left_fits_the_schema_of_the_tool(gateway: Deployment, upstream: Recorder, way: Way) -> None:
    who = subject()
    upstream.results["shaped"] = {"content": [], "structuredContent": {"key": AWS}}
    result = last(call(gateway, way, "notes__shaped", gateway.token(who)))["result"]
    assert result["structuredContent"] == {"key": "[REDACTED]"}
    assert taken_out(gateway, who)[0]["metadata"]["detectors"] == {"aws_key": 1}


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_list_lets_no_secret_through(gateway: Deployment, way: Way) -> None:
    who = subject()
    path = "/mcp" if way.federated else "/mcp/notes"
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers: dict[str, str] = {}
    if way.modern:
        message["params"] = {"_meta": envelope()}
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}
    answer = gateway.post(message, gateway.token(who), path=path, headers=headers)
    tools = {tool["name"].rpartition("__")[2]: tool for tool in answer.json["result"]["tools"]}
    assert tools["described"]["description"] == "Use it with [REDACTED:aws_key], please."
    assert tools["text"] == {**definition("text"), "name": tools["text"]["name"]}
    assert taken_out(gateway, who)[0]["metadata"]["detectors"] == {"aws_key": 1}


def test_counts_are_in_the_metrics_and_in_the_log(gateway: Deployment, upstream: Recorder) -> None:
    who = subject()
    upstream.results["plain"] = block(text(f"{AWS} {GITHUB} {AWS}"))
    answer = gateway.call("notes__plain", {"text": "x"}, gateway.token(who))
    assert answer.text == "[REDACTED:aws_key] [REDACTED:github_token] [REDACTED:aws_key]"
    row = taken_out(gateway, who)[0]
    assert (row["reason"], row["redaction_count"]) == ("redacted", 3)
    said = until(
        lambda: [one for one in gateway.lines("redact") if one["correlation_id"] == row["correlation_id"]],
        within=30,
        what="the lines of the log",
    )
    assert [(line["pattern"], line["count"], line["tool"]) for line in said] == [
        ("aws_key", 2, "notes/plain"),
        ("github_token", 1, "notes/plain"),
    ]
    metrics = gateway.get("/metrics").body.decode()
    counts = re.findall(r'airlock_redactions_total\{pattern="aws_key"\} ([0-9.]+)', metrics)
    assert float(counts[0]) >= 2
    assert 'pattern="iban"' in metrics


def test_without_the_control_the_secret_comes_through_and_a_reload_brings_it_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Recorder(tools={"plain": definition("plain")}) as upstream:
        upstream.results["plain"] = block(text(AWS))
        servers = [{"name": "notes", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
        folder = tmp_path_factory.mktemp("xb3-off")
        with Deployment(folder, servers, workers=1, redaction={"detectors": []}) as off:
            token = off.token()
            assert off.call("notes__plain", {"text": "x"}, token).text == AWS
            off.sections["redaction"] = {"detectors": ["aws_key"]}
            off.write()
            assert off.process is not None
            off.process.send_signal(1)
            until(
                lambda: off.call("notes__plain", {"text": "x"}, token).text == "[REDACTED:aws_key]",
                within=30,
                what="redaction after the reload",
            )
