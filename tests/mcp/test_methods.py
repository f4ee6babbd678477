"""Which methods an era has, and the shapes of parameters."""

from __future__ import annotations

from typing import Any

import pytest
from mcp_types import methods as sdk

from airlock.core.errors import Rejected
from airlock.mcp.methods import LEGACY_METHODS, MODERN_METHODS, check_params, unknown_method

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
