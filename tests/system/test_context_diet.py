"""Hundreds of tools do not flood an agent: it is listed a search, and calls what it finds by name."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.system.deployment import Deployment
from tests.system.recorder import Recorder, definition

FIND = "airlock__find_tools"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    tools = {f"report_{number}": definition(f"report_{number}") for number in range(400)}
    tools["cancel_order"] = definition("cancel_order", description="Take back what a customer bought.")
    with Recorder(tools=tools) as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    shop = {
        "name": "shop",
        "transport": "http",
        "url": upstream.url,
        "sensitivity": "low",
        "tools": {"report_7": {"tags": ["daily"]}, "report_8": {"tags": ["weekly"]}},
    }
    lists = {
        "find_tools": True,
        "always": ["daily", "weekly"],
        "narrow": [{"roles": ["viewer"], "tags": ["weekly"]}],
    }
    with Deployment(tmp_path_factory.mktemp("diet"), [shop], workers=1, lists=lists) as deployment:
        yield deployment


def found(gateway: Deployment, query: str, token: str) -> list[str]:
    answer = gateway.call(FIND, {"query": query}, token, modern=True)
    return [tool["name"] for tool in json.loads(answer.text)["tools"]]


def test_the_list_is_the_search_and_what_is_used_daily(gateway: Deployment) -> None:
    assert gateway.tools(gateway.token("lister")) == [FIND, "shop__report_7", "shop__report_8"]


def test_what_is_found_can_be_called(gateway: Deployment, upstream: Recorder) -> None:
    token = gateway.token("finder")
    assert found(gateway, "take back an order", token)[0] == "shop__cancel_order"
    assert "mine" in gateway.call("shop__cancel_order", {"text": "mine"}, token).text
    assert any(message["params"]["name"] == "cancel_order" for message in upstream.calls())


def test_the_route_of_the_server_lists_everything(gateway: Deployment) -> None:
    assert len(gateway.tools(gateway.token("server"), path="/mcp/shop")) == 401


def test_a_role_is_listed_and_finds_its_tags_only(gateway: Deployment) -> None:
    token = gateway.token("narrow", roles=("developer", "viewer"))
    assert gateway.tools(token) == [FIND, "shop__report_8"]
    assert found(gateway, "report cancel order", token) == ["shop__report_8"]
