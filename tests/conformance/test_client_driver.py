"""What the driver's agent calls, and with what."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mcp_types import ElicitRequestFormParams, ElicitRequestURLParams, Tool

from tests.conformance.client_driver import calls, credential_for, elicited


def tool(name: str, *required: str, **properties: dict[str, Any]) -> Tool:
    return Tool(
        name=name, input_schema={"type": "object", "properties": properties, "required": list(required)}
    )


def test_every_tool_is_called_with_what_it_needs() -> None:
    listed = [
        tool("plain"),
        tool("add", "a", "b", a={"type": "number"}, b={"default": 7}, c={"type": "string"}),
    ]
    assert calls(listed, {}) == [("plain", {}), ("add", {"a": 2, "b": 7})]


def test_a_scenario_that_names_its_calls_gets_those() -> None:
    context = {"toolCalls": [{"name": "x", "arguments": {"y": None}}]}
    assert calls([tool("plain")], context) == [("x", {"y": None})]


def test_a_schema_is_sent_back_as_it_was_listed() -> None:
    focal = tool("json_schema_2020_12_tool", person={"type": "string"})
    assert calls([focal, tool("json_schema_echo")], {}) == [
        ("json_schema_echo", {"schema": focal.input_schema})
    ]


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        ({"type": "object", "properties": {"name": {"type": "string", "default": "John"}}}, {"name": "John"}),
        ({"type": "object", "properties": {"ok": {"type": "boolean"}}}, {"ok": True}),
        ({"type": "object", "properties": {}}, {}),
    ],
)
def test_a_form_is_left_at_its_defaults(schema: dict[str, Any], content: dict[str, Any]) -> None:
    params = ElicitRequestFormParams(message="?", requested_schema=schema)
    context: Any = None
    assert asyncio.run(elicited(context, params)).content == content


def test_a_page_is_visited() -> None:
    params = ElicitRequestURLParams(message="?", url="https://example.com/", elicitation_id="1")
    context: Any = None
    assert asyncio.run(elicited(context, params)).action == "accept"


def test_a_client_that_the_scenario_registered_is_used_at_its_issuer_alone(tmp_path: Path) -> None:
    context = {"client_id": "known", "client_secret": "s", "issuer": "http://localhost:9"}
    found = credential_for(context, tmp_path)
    assert (found["client_id"], found["issuers"], "register" in found) == (
        "known",
        [context["issuer"]],
        False,
    )
    assert Path(found["file"]).read_text() == "s"
    assert credential_for({}, tmp_path)["register"] == ["*"]
