"""Which methods an era has, and the shapes of parameters."""

from __future__ import annotations

from typing import Any

import pytest
from mcp_types import methods as sdk

from airlock.core.errors import Rejected
from airlock.mcp.methods import LEGACY_METHODS, MODERN_METHODS, check_params, server_named, unknown_method

INFO = {"name": "agent", "version": "1"}
HELLO: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO}


def test_method_sets_are_those_of_the_sdk() -> None:
    by_version = {
        version: {method for method, served in sdk.CLIENT_REQUESTS if served == version}
        for version in ("2025-11-25", "2026-07-28")
    }
    legacy = {method for method in by_version["2025-11-25"] if not method.startswith("tasks/")}
    assert (legacy, by_version["2026-07-28"]) == (LEGACY_METHODS, MODERN_METHODS)


@pytest.mark.parametrize(("modern", "http"), [(True, 404), (False, 200)])
def test_h11_an_unknown_method_has_the_status_of_its_era(modern: bool, http: int) -> None:
    rejected = unknown_method("nope", modern=modern)
    assert (rejected.http, rejected.code) == (http, -32601)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("ping", {}),
        ("ping", {"_meta": {"progressToken": "t"}}),
        ("server/discover", {"_meta": {"progressToken": 1}}),
        ("initialize", HELLO),
        ("tools/list", {}),
        ("tools/list", {"cursor": ""}),
        ("tools/call", {"name": "x"}),
        ("tools/call", {"name": "x", "arguments": {}, "inputResponses": {}, "requestState": "s", "new": 1}),
        ("subscriptions/listen", {"notifications": {}}),
        (
            "subscriptions/listen",
            {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a:b"], "new": 1}},
        ),
        ("notifications/initialized", {}),
        ("notifications/cancelled", {"requestId": 1, "reason": "late"}),
    ],
)
def test_proper_parameters_pass(method: str, params: dict[str, Any]) -> None:
    check_params(method, params, http=400)


@pytest.mark.parametrize(
    ("method", "params", "member"),
    [
        ("ping", {"_meta": 7}, "params._meta"),
        ("ping", {"_meta": {"progressToken": 1.5}}, "progressToken"),
        ("ping", {"_meta": {"progressToken": True}}, "progressToken"),
        ("initialize", {}, "params.protocolVersion"),
        ("subscriptions/listen", {}, "params.notifications"),
        ("subscriptions/listen", {"notifications": {"toolsListChanged": 1}}, "toolsListChanged"),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": "a:b"}}, "at most 256 URIs"),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": [1]}}, "resourceSubscriptions"),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["a"] * 257}}, "256"),
        ("tools/call", {"name": "x", "inputResponses": None}, "params.inputResponses"),
        ("prompts/get", {"name": "x", "requestState": 1}, "params.requestState"),
        ("resources/read", {"uri": "a:b", "requestState": 1}, "params.requestState"),
        ("initialize", {**HELLO, "protocolVersion": 7}, "params.protocolVersion"),
        ("initialize", {**HELLO, "capabilities": None}, "params.capabilities"),
        ("initialize", {**HELLO, "clientInfo": "agent"}, "params.clientInfo"),
        ("initialize", {**HELLO, "clientInfo": {"name": "agent"}}, "params.clientInfo"),
        ("initialize", {**HELLO, "clientInfo": {"version": "1"}}, "params.clientInfo"),
        ("tools/list", {"cursor": None}, "params.cursor"),
        ("tools/call", {}, "params.name"),
        ("tools/call", {"name": ""}, "params.name"),
        ("tools/call", {"name": 7}, "params.name"),
        ("tools/call", {"name": "x", "arguments": []}, "params.arguments"),
        ("tools/call", {"name": "x", "arguments": None}, "params.arguments"),
        ("tools/call", {"name": "x", "inputResponses": None}, "params.inputResponses"),
        ("tools/call", {"name": "x", "requestState": {}}, "params.requestState"),
        ("tools/call", {"name": "x", "task": {}}, "params.task"),
        ("notifications/cancelled", {}, "params.requestId"),
        ("notifications/cancelled", {"requestId": 1, "reason": 2}, "params.reason"),
    ],
)
def test_the_wrong_member_is_named(method: str, params: dict[str, Any], member: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_params(method, params, http=400)
    assert (caught.value.http, caught.value.code) == (400, -32602)
    assert member in caught.value.text


ARGUMENT = {"name": "x", "value": ""}
PROMPT = {"type": "ref/prompt", "name": "docs__greet"}
TEMPLATE = {"type": "ref/resource", "uri": "mcp+docs:db://{id}"}


@pytest.mark.parametrize(
    ("method", "params", "server"),
    [
        ("tools/call", {"name": "docs__echo", "uri": "mcp+files:x", "ref": TEMPLATE}, "docs"),
        ("prompts/get", {"name": "docs__greet", "uri": "mcp+files:x"}, "docs"),
        ("resources/read", {"uri": "mcp+docs:file:///x", "name": "files__x"}, "docs"),
        ("resources/read", {"uri": "file:///x"}, ""),
        ("completion/complete", {"ref": PROMPT, "argument": ARGUMENT, "name": "files__x"}, "docs"),
        ("completion/complete", {"ref": TEMPLATE, "argument": ARGUMENT, "uri": "mcp+files:x"}, "docs"),
    ],
)
def test_a_call_names_its_server_in_one_place(method: str, params: dict[str, Any], server: str) -> None:
    check_params(method, params, http=200)
    assert server_named(method, params) == server


@pytest.mark.parametrize(
    ("method", "params", "member"),
    [
        ("prompts/list", {"cursor": 1}, "cursor"),
        ("resources/list", {"cursor": 1}, "cursor"),
        ("resources/templates/list", {"cursor": 1}, "cursor"),
        ("prompts/get", {}, "name"),
        ("prompts/get", {"name": ""}, "name"),
        ("prompts/get", {"name": "x", "arguments": []}, "arguments"),
        ("prompts/get", {"name": "x", "arguments": {"a": 1}}, "arguments"),
        ("prompts/get", {"name": "x", "requestState": 1}, "requestState"),
        ("resources/read", {}, "uri"),
        ("resources/read", {"uri": 1}, "uri"),
        ("resources/read", {"uri": "x", "inputResponses": 1}, "inputResponses"),
        ("completion/complete", {"argument": ARGUMENT}, "ref"),
        ("completion/complete", {"ref": {"type": "ref/tool", "name": "x"}, "argument": ARGUMENT}, "ref"),
        ("completion/complete", {"ref": {"type": "ref/prompt"}, "argument": ARGUMENT}, "ref"),
        ("completion/complete", {"ref": {"type": "ref/resource", "name": "x"}, "argument": ARGUMENT}, "ref"),
        ("completion/complete", {"ref": PROMPT}, "argument"),
        ("completion/complete", {"ref": PROMPT, "argument": {"name": "x"}}, "argument"),
        ("completion/complete", {"ref": PROMPT, "argument": {"name": "x", "value": 1}}, "argument"),
        ("completion/complete", {"ref": PROMPT, "argument": ARGUMENT, "context": 1}, "context"),
        (
            "completion/complete",
            {"ref": PROMPT, "argument": ARGUMENT, "context": {"arguments": {"a": 1}}},
            "context",
        ),
    ],
)
def test_the_wrong_member_of_other_calls_is_named(method: str, params: dict[str, Any], member: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_params(method, params, http=200)
    assert (caught.value.code, f"`params.{member}`" in caught.value.text) == (-32602, True)


def test_a_prompt_and_a_resource_may_go_on_with_a_round() -> None:
    for method, named in (("prompts/get", {"name": "x"}), ("resources/read", {"uri": "x"})):
        check_params(method, {**named, "requestState": "s", "inputResponses": {}}, http=200)
        check_params(method, named, http=200)


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        ("logging/setLevel", {"level": "loud"}, "level"),
        ("logging/setLevel", {}, "level"),
        ("resources/subscribe", {}, "uri"),
        ("resources/unsubscribe", {"uri": ""}, "uri"),
    ],
)
def test_what_a_session_asks_for_has_its_shape(method: str, params: dict[str, Any], told: str) -> None:
    with pytest.raises(Rejected, match=told):
        check_params(method, params, http=200)
    check_params(method, {"level": "info", "uri": "file:///a"}, http=200)
