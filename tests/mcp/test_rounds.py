"""Questions that a server answers a call with."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.core.errors import UpstreamFault
from airlock.mcp import rounds
from airlock.mcp.rounds import Needed

FORM = {"properties": {"name": {"type": "string"}}}


def form(**params: Any) -> dict[str, Any]:
    return {
        "method": "elicitation/create",
        "params": {"message": "Who?", "requestedSchema": FORM, **params},
    }


def address(**params: Any) -> dict[str, Any]:
    told = {"mode": "url", "message": "Go", "url": "https://login.example/", **params}
    return {"method": "elicitation/create", "params": told}


def sample(**params: Any) -> dict[str, Any]:
    return {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5, **params}}


ROOTS = {"method": "roots/list"}


def test_what_a_server_asks_is_read() -> None:
    requests = {"a": form(), "b": address(), "c": sample(), "d": ROOTS, "e": form(mode="form")}
    asked = rounds.needed({"resultType": "input_required", "inputRequests": requests, "requestState": "s"})
    assert asked == Needed(requests, "s")
    assert rounds.needed({"requestState": ""}) == Needed({}, "")
    assert rounds.needed({"inputRequests": {"d": ROOTS}}) == Needed({"d": ROOTS}, None)


@pytest.mark.parametrize(
    ("result", "detail"),
    [
        ({}, "asks nothing"),
        ({"inputRequests": {}}, "asks nothing"),
        ({"inputRequests": []}, "`inputRequests` is not an object"),
        ({"inputRequests": {"d": ROOTS}, "requestState": 1}, "is not text"),
        ({"requestState": "x" * (rounds.MAX_STATE + 1)}, "is not text of at most 65536 bytes"),
        ({"inputRequests": {str(n): ROOTS for n in range(17)}}, "more than 16 requests"),
        ({"inputRequests": {"k" * 257: ROOTS}}, "its key is too long"),
        ({"inputRequests": {"d": 1}}, "its method is unknown"),
        ({"inputRequests": {"d": {"method": "tools/call"}}}, "its method is unknown"),
        ({"inputRequests": {"d": {"method": "roots/list", "params": 1}}}, "params are not an object"),
        ({"inputRequests": {"d": {"method": "sampling/createMessage"}}}, "it has no messages"),
        ({"inputRequests": {"d": form(message=1)}}, "it has no message"),
        ({"inputRequests": {"d": form(requestedSchema=1)}}, "its form has no properties"),
        ({"inputRequests": {"d": form(requestedSchema={})}}, "its form has no properties"),
        ({"inputRequests": {"d": address(url=None)}}, "it has no URL"),
        ({"inputRequests": {"d": form(mode="voice")}}, "its mode is unknown"),
    ],
)
def test_what_is_no_question_is_a_breach_of_the_protocol(result: dict[str, Any], detail: str) -> None:
    with pytest.raises(UpstreamFault) as fault:
        rounds.needed(result)
    assert fault.value.code == 50201
    assert detail in fault.value.detail


@pytest.mark.parametrize(
    ("request_", "capabilities", "missing"),
    [
        (form(), {"elicitation": {}}, {}),
        (form(), {"elicitation": {"form": {}}}, {}),
        (form(), {"elicitation": {"url": {}}}, {"elicitation": {"form": {}}}),
        (form(), {}, {"elicitation": {"form": {}}}),
        (form(), {"elicitation": True}, {"elicitation": {"form": {}}}),
        (address(), {"elicitation": {}}, {"elicitation": {"url": {}}}),
        (address(), {"elicitation": {"url": {}}}, {}),
        (sample(), {"sampling": {}}, {}),
        (sample(), {"elicitation": {}}, {"sampling": {}}),
        (sample(tools=[]), {"sampling": {}}, {"sampling": {"tools": {}}}),
        (sample(toolChoice={}), {"sampling": {"tools": {}}}, {}),
        (ROOTS, {"roots": {"listChanged": True}}, {}),
        (ROOTS, {}, {"roots": {}}),
    ],
)
def test_a_client_is_asked_only_for_what_it_declared(
    request_: dict[str, Any], capabilities: dict[str, Any], missing: dict[str, Any]
) -> None:
    assert rounds.undeclared({"k": request_}, capabilities) == missing


def test_everything_that_is_missing_is_named_at_once() -> None:
    requests = {"a": form(), "b": address(), "c": sample(), "d": ROOTS}
    told: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
    assert rounds.undeclared(requests, {}) == told


@pytest.mark.parametrize(
    ("params", "begun", "defect"),
    [
        ({"name": "x"}, False, ""),
        ({"inputResponses": {}}, True, ""),
        ({"requestState": ""}, True, ""),
        ({"inputResponses": None}, True, "`params.inputResponses` must be an object."),
        ({"requestState": None}, True, "`params.requestState` must be text."),
    ],
)
def test_what_comes_back_has_its_shape(params: dict[str, Any], begun: bool, defect: str) -> None:
    assert rounds.begins(params) is not begun
    assert rounds.round_defect(params) == defect


def test_all_rounds_of_one_call_have_one_digest_and_other_calls_have_others() -> None:
    first = rounds.digest("tools/call", {"name": "t", "arguments": {"a": 1, "b": 2}})
    again = {
        "arguments": {"b": 2, "a": 1},
        "name": "t",
        "_meta": {},
        "requestState": "s",
        "inputResponses": {},
    }
    assert rounds.digest("tools/call", again) == first
    assert rounds.digest("prompts/get", again) != first
    assert rounds.digest("tools/call", {"name": "t", "arguments": {"a": 1}}) != first
