"""From a name to one tool of one server."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.core.errors import Effect, Rejected, UpstreamFault
from airlock.gateway.resolve import resolve, visible_servers
from airlock.model.call import Routed
from airlock.model.server import RegisteredServer
from tests.gateway.parts import (
    authenticated,
    call_message,
    definition,
    entry,
    identified,
    registered,
    snapshot,
)

THEIRS = registered("theirs", tenant="other")


def find(name: str, *servers: RegisteredServer, route: str = "", **params: Any) -> Routed:
    at = snapshot(*servers) if servers else snapshot(registered(), THEIRS)
    told = call_message(name, **params)["params"]
    return resolve(identified(params=told, caller=authenticated(at=at, server=route)))


def test_a_federated_name_leads_to_its_server() -> None:
    found = find("docs__echo", arguments={"text": "x"})
    assert (found.server.entry.name, found.item.name, found.arguments) == ("docs", "echo", {"text": "x"})


def test_on_the_route_of_a_server_its_own_names_count() -> None:
    assert find("echo", route="docs").item.name == "echo"
    with pytest.raises(Rejected):
        find("docs__echo", route="docs")


def test_arguments_may_be_left_out() -> None:
    told = {"name": "docs__echo"}
    assert resolve(identified(params=told)).arguments == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("docs__other", "unknown_tool"),
        ("nobody__echo", "unknown_tool"),
        ("echo", "unknown_tool"),
        ("theirs__echo", "cross_tenant_attempt"),
    ],
)
def test_what_does_not_exist_and_what_belongs_to_others_is_one_answer(name: str, reason: str) -> None:
    with pytest.raises(Rejected) as error:
        find(name)
    assert (error.value.http, error.value.code, error.value.reason) == (200, -32602, reason)
    assert error.value.text == f"Unknown tool: {name}"


def test_a_very_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(Rejected) as error:
        find("docs__" + "x" * 100_000)
    assert len(error.value.text) < 300


def test_a_server_that_was_never_read_is_unavailable() -> None:
    with pytest.raises(UpstreamFault) as fault:
        find("docs__echo", RegisteredServer(entry=entry(), state="down", reason="refused"))
    assert (fault.value.code, fault.value.effect, fault.value.retry_after) == (50301, Effect.NONE, 5)


def test_visible_servers_come_in_order_and_only_those_of_the_tenant() -> None:
    at = snapshot(registered("zeta"), registered("alpha", definition("b")), THEIRS)

    def seen(route: str = "") -> list[str]:
        return [one.entry.name for one in visible_servers(authenticated(at=at, server=route))]

    assert seen() == ["alpha", "zeta"]
    assert seen("theirs") == []
    assert seen("nobody") == []
