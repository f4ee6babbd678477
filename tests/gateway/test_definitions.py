"""What lists say of tools and servers passes the same rules as results."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from airlock.gateway.definitions import Definitions
from airlock.gateway.redact import Redactors
from airlock.model.call import Findings
from airlock.model.server import Item
from tests.gateway.parts import House, definition, redactors, registered
from tests.gateway.secrets_parts import AWS, GITHUB

RULES: dict[str, Any] = {"detectors": ("aws_key", "github_token"), "url_allow": ("allowed.test",)}


def tool(**more: Any) -> Item:
    catalog = registered("docs", definition("echo", **more)).catalog
    assert catalog is not None
    return catalog.tools["echo"]


def shown(of: Item, rules: Redactors | None = None) -> tuple[dict[str, Any], Findings]:
    found = Findings()
    return Definitions(rules or redactors(**RULES)).shown(found)(of), found


def test_a_definition_without_secrets_is_the_servers_own() -> None:
    of = tool(title="Echo", outputSchema={"type": "object", "$schema": "https://json-schema.org/x"})
    assert shown(of) == (of.definition, Findings())
    assert shown(of)[0] is of.definition


@pytest.mark.parametrize(
    "more",
    [
        {"description": f"use {AWS}"},
        {"title": AWS},
        {"annotations": {"title": AWS}},
        {"inputSchema": {"type": "object", "properties": {"a": {"type": "string", "description": AWS}}}},
        {"inputSchema": {"type": "object", "properties": {"a": {"type": "string", "default": AWS}}}},
        {"inputSchema": {"type": "object", "properties": {"a": {"enum": ["x", AWS, 1]}}}},
        {"inputSchema": {"type": "object", "anyOf": [{"description": AWS}]}},
        {"_meta": {"note": [[AWS]]}},
        {"_meta": {AWS: 1}},
        {"inputSchema": {"type": "object", "properties": {AWS: {"type": "string"}}}},
    ],
)
def test_a_secret_anywhere_in_a_definition_is_not_shown(more: dict[str, Any]) -> None:
    less, found = shown(tool(**more))
    assert AWS not in json.dumps(less)
    assert found.counts == {"aws_key": 1}
    assert less["name"] == "echo"


def test_addresses_count_in_prose_and_not_in_schemas() -> None:
    schema = {"type": "object", "$id": "https://evil.test/schema", "description": "see https://evil.test/a"}
    less, found = shown(tool(inputSchema=schema, description="https://allowed.test/b"))
    assert less["inputSchema"]["$id"] == "https://evil.test/schema"
    assert less["inputSchema"]["description"] == "see [REDACTED:url]"
    assert less["description"] == "https://allowed.test/b"
    assert (found.counts, found.hosts) == ({"url_blocked": 1}, {"evil.test"})


def test_with_addresses_alone_other_texts_stay() -> None:
    less, _ = shown(tool(description="https://evil.test", inputSchema={"enum": [AWS]}),
                    redactors(url_allow=("allowed.test",)))  # fmt: skip
    assert less["inputSchema"] == {"enum": [AWS]}


def test_a_definition_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = redactors(**RULES)
    definitions, of = Definitions(rules), tool(description=AWS)
    first = definitions.shown(Findings())(of)
    assert definitions.shown(Findings())(of) is first
    rules.rules = redactors(**RULES).rules
    assert definitions.shown(Findings())(of) is not first
    monkeypatch.setattr("airlock.gateway.definitions.MAX_KEPT", 1)
    assert definitions.shown(Findings())(of) == first


def test_without_rules_a_server_says_what_it_likes() -> None:
    info = {"name": "x", "title": AWS}
    assert Definitions(redactors()).info(info, Findings()) is info


def say(house: House, method: str, server: str = "", **params: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    reply = asyncio.run(house.govern(house.inbound(message, server=server)))
    return json.loads(reply.body)["result"]


def test_a_list_is_looked_at_and_a_row_says_what_was_taken_out(tmp_path: Path) -> None:
    bad = registered("docs", definition("a", description=f"{AWS} {GITHUB}"), definition("b", title=AWS))
    house = House(tmp_path, bad, redaction=RULES)
    assert AWS not in json.dumps(say(house, "tools/list"))
    (row,) = house.log.events
    assert (row.action, row.event_type, row.redaction_count) == ("redact_data", "redaction", 3)
    assert row.metadata["detectors"] == {"aws_key": 2, "github_token": 1}
    assert row.decision is None
    assert house.transcript == ["durable single", "answered"]
    assert [(tool, found.counts) for found, tool, _ in house.announced] == [
        ("", {"aws_key": 2, "github_token": 1})
    ]


def test_a_list_without_secrets_leaves_no_row(tmp_path: Path) -> None:
    house = House(tmp_path, redaction=RULES)
    say(house, "tools/list")
    assert house.log.events == []


def test_what_a_server_says_of_itself_is_looked_at(tmp_path: Path) -> None:
    house = House(tmp_path, registered("docs"), redaction=RULES)
    server = house.current.get().registry.servers["docs"]
    assert server.catalog is not None
    server.catalog.server_info["title"] = AWS
    client = {"name": "x", "version": "1"}
    result = say(
        house, "initialize", "docs", protocolVersion="2025-11-25", capabilities={}, clientInfo=client
    )
    assert result["serverInfo"]["title"] == "[REDACTED:aws_key]"
    assert house.log.events[-1].action == "redact_data"
