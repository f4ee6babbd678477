"""`tools/list`: only what this caller may know of, in a stable order, whatever a server's state."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import PolicyFault
from airlock.gateway import lists
from airlock.model.call import Client, Identified
from airlock.model.server import Item, RegisteredServer
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN_CLIENT,
    authenticated,
    definition,
    entry,
    identified,
    principal,
    registered,
    snapshot,
)


def everything(_: Identified, __: Item) -> bool:
    return True


def asked(
    *servers: RegisteredServer, tenant: str = "acme", server: str = "", client: Client = LEGACY_CLIENT
) -> Identified:
    caller = authenticated(who=principal(tenant=tenant), at=snapshot(*servers), server=server)
    return identified("tools/list", {}, caller=caller, client=client)


def names(of: Identified, visible: lists.Visible = everything) -> list[str]:
    tools = asyncio.run(lists.visible_items(of, "tool", visible))
    return [shown["name"] for shown in shown_to(of, tools)]


def shown_to(of: Identified, tools: list[Item]) -> list[dict[str, Any]]:
    return lists.definitions(of, tools, lambda item: item.definition)


@settings(max_examples=50, deadline=None)
@given(st.permutations(["zeta", "alpha", "mid"]), st.permutations(["b", "B", "a1", "\u00e4", "_"]))
def test_the_order_is_by_server_then_by_name_whatever_order_they_came_in(
    servers: list[str], tools: list[str]
) -> None:
    of = asked(*(registered(name, *map(definition, tools)) for name in servers))
    found = asyncio.run(lists.visible_items(of, "tool", everything))
    order = [(tool.server, tool.name) for tool in found]
    assert order == sorted(order)
    assert len(order) == 15


def test_on_the_route_of_one_server_its_tools_have_their_own_names() -> None:
    assert names(asked(registered("docs"), registered("files"), server="docs")) == ["echo"]


def test_on_the_common_route_every_name_says_its_server() -> None:
    assert names(asked(registered("docs"), registered("files"))) == ["docs__echo", "files__echo"]


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(registered(pins={"echo": "changed"}), id="changed"),
        pytest.param(registered("docs", definition(inputSchema=True)), id="unfit"),
        pytest.param(registered(tenant="globex"), id="of another tenant"),
        pytest.param(RegisteredServer(entry=entry()), id="never read"),
    ],
)
def test_what_cannot_be_called_is_not_shown(server: RegisteredServer) -> None:
    assert names(asked(server)) == []


def test_what_policy_hides_is_not_shown() -> None:
    of = asked(registered("docs", definition("a"), definition("b")))
    assert names(of, lambda _, tool: tool.name == "b") == ["docs__b"]


def test_a_policy_that_cannot_decide_fails_the_whole_list() -> None:
    def broken(_: Identified, tool: Item) -> bool:
        if tool.name == "b":
            raise PolicyFault("policy_error", "x")
        return True

    with pytest.raises(PolicyFault):
        names(asked(registered("docs", definition("a"), definition("b"))), broken)


def test_a_long_list_lets_others_run_meanwhile() -> None:
    of = asked(registered("docs", *(definition(f"t{number}") for number in range(lists.BREATH + 1))))

    async def scenario() -> list[str]:
        seen: list[str] = []
        asyncio.get_running_loop().call_soon(seen.append, "another's turn")
        await lists.visible_items(of, "tool", lambda _, __: bool(seen.append("asked")) or True)
        return seen

    assert "another's turn" in asyncio.run(scenario())


def test_each_server_of_the_tenant_has_its_state() -> None:
    down = msgspec.structs.replace(registered("down"), catalog=None, state="down")
    stale = msgspec.structs.replace(registered("stale"), state="stale")
    cold = RegisteredServer(entry=entry("cold"))
    of = asked(registered("docs"), down, stale, cold, registered("foreign", tenant="globex"))
    assert lists.listing(of, [])["_meta"]["dev.airlock/upstreams"] == {
        "cold": "down",
        "docs": "ready",
        "down": "down",
        "stale": "stale",
    }


def test_the_last_good_catalog_of_a_server_that_is_away_is_still_shown() -> None:
    stale = msgspec.structs.replace(registered("docs"), state="stale")
    assert names(asked(stale, registered("files"))) == ["docs__echo", "files__echo"]


ARRAYS = {"type": "array"}


@pytest.mark.parametrize(("client", "kept"), [(LEGACY_CLIENT, False), (MODERN_CLIENT, True)])
def test_an_output_schema_that_is_no_object_is_shown_to_modern_clients_only(
    client: Client, kept: bool
) -> None:
    of = asked(registered("docs", definition(outputSchema=ARRAYS)), client=client)
    shown = shown_to(of, asyncio.run(lists.visible_items(of, "tool", everything)))[0]
    assert ("outputSchema" in shown) is kept


def test_tasks_are_not_offered_and_everything_else_is_as_the_server_said() -> None:
    told: dict[str, Any] = definition(
        title="Echo", annotations={"x": 1}, execution={"taskSupport": "optional"}
    )
    of = asked(registered("docs", told), server="docs")
    shown = shown_to(of, asyncio.run(lists.visible_items(of, "tool", everything)))[0]
    assert shown == {key: value for key, value in told.items() if key != "execution"}
