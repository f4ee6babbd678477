"""The gateway's own tool: for checks alone, governed like any other, and told apart in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Refused, Rejected
from airlock.gateway import echo
from airlock.gateway.live import no_longer
from airlock.gateway.resolve import resolve, visible_servers
from airlock.model.server import Registry
from airlock.model.snapshot import Snapshot
from tests.gateway.parts import (
    House,
    allowed,
    authenticated,
    call_message,
    identified,
    no,
    principal,
    redacted,
    registered,
    routed,
    yes,
)
from tests.gateway.secrets_parts import EMAIL

SYNTHETIC = principal("synthetic")


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path, registered())
    house.upstreams[echo.NAME] = echo.Echo()
    return house


def say(
    house: House, name: str, text: str, *, subject: str = "synthetic", server: str = ""
) -> dict[str, Any]:
    message = call_message(name, arguments={"text": text})
    inbound = house.inbound(message, token=house.token(subject), server=server)
    return msgspec.json.decode(asyncio.run(house.govern(inbound)).body)


def marks(house: House) -> list[bool]:
    return [event.metadata.get("synthetic", False) for event in house.log.events]


def test_only_the_checks_know_of_it() -> None:
    caller, alice = authenticated(who=SYNTHETIC), authenticated()
    assert "airlock" in [server.entry.name for server in visible_servers(caller)]
    assert "airlock" not in [server.entry.name for server in visible_servers(alice)]
    told = {"name": "airlock__echo", "arguments": {"text": "x"}}
    assert resolve(identified(params=told, caller=caller)).server is echo.SERVER
    with pytest.raises(Rejected) as unknown:
        resolve(identified(params=told, caller=alice))
    assert unknown.value.reason == "unknown_tool"


def test_it_answers_on_both_routes_and_every_row_is_marked(house: House) -> None:
    assert say(house, "airlock__echo", "hello")["result"]["content"] == [{"type": "text", "text": "hello"}]
    assert say(house, "echo", "again", server="airlock")["result"]["content"][0]["text"] == "again"
    assert [(event.resource, event.decision) for event in house.log.events] == [
        ("mcp://airlock/echo", "allow")
    ] * 2
    assert marks(house) == [True, True]


def test_one_of_its_tools_is_for_policy_to_refuse(house: House) -> None:
    house.engine.answer = lambda asked: (
        no(asked) if asked["target"]["sensitivity"] == "critical" else yes(asked)
    )
    assert say(house, "airlock__echo", "x")["result"]["content"][0]["text"] == "x"
    assert say(house, "airlock__guarded", "x")["error"]["message"] == "Unknown tool: airlock__guarded"
    house.engine.answer = yes
    assert say(house, "airlock__guarded", "x")["result"]["content"][0]["text"] == "x"
    assert [event.decision for event in house.log.deciding()] == ["allow", "deny", "allow"]
    assert [event.tool_name for event in house.log.intents()] == ["guarded"]
    assert all(marks(house))


def test_it_is_redacted_like_any_tool(tmp_path: Path) -> None:
    house = House(tmp_path, registered(), redaction={"detectors": ("email",)})
    house.upstreams[echo.NAME] = echo.Echo()
    assert EMAIL not in str(say(house, "airlock__echo", f"write to {EMAIL}"))
    assert {event.action: event.metadata.get("synthetic") for event in house.log.events} == {
        "redact_data": True,
        "tool_call": True,
    }


def test_policy_decides_about_it(house: House) -> None:
    house.engine.answer = lambda asked: no(asked) if asked["phase"] == "call" else yes(asked)
    assert say(house, "airlock__echo", "hello")["result"]["isError"] is True
    (row,) = house.log.deciding()
    assert (row.decision, row.reason, row.metadata["synthetic"]) == ("deny", "policy_denied: not_today", True)


def test_what_really_went_to_a_server_is_not_marked(house: House) -> None:
    say(house, "docs__echo", "x")
    assert marks(house) == [False] * len(house.log.events)


def test_what_is_refused_elsewhere_is_not_marked(house: House) -> None:
    house.engine.answer = no
    for name, server in (("docs__echo", ""), ("docs__nothing", ""), ("nobody__echo", ""), ("echo", "docs")):
        say(house, name, "x", server=server)
    say(house, "echo", "x", server="nobody")
    assert (len(house.log.deciding()), marks(house)) == (5, [False] * 5)


def test_what_names_no_tool_is_marked_unless_it_is_critical(house: House) -> None:
    broken = b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}'
    asyncio.run(house.govern(house.inbound(broken, token=house.token("synthetic"))))
    assert [(event.action, event.metadata.get("synthetic")) for event in house.log.events] == [
        ("security_violation", True)
    ]


def test_others_are_not_marked(house: House) -> None:
    say(house, "docs__echo", "x", subject="alice")
    assert not any(marks(house))


def test_it_goes_on_while_servers_come_and_go() -> None:
    told = {"name": "airlock__echo", "arguments": {"text": "x"}}
    call = redacted(allowed(routed(identified(params=told, caller=authenticated(who=SYNTHETIC)))))
    assert call.allowed.admitted.routed.server is echo.SERVER
    later: Snapshot = msgspec.structs.replace(
        call.allowed.admitted.routed.identified.caller.snapshot, registry=Registry(servers={}, version=9)
    )
    assert no_longer(call, later, 0.0) is None
    ours = redacted()
    gone: Snapshot = msgspec.structs.replace(
        ours.allowed.admitted.routed.identified.caller.snapshot, registry=Registry(servers={}, version=9)
    )
    assert isinstance(no_longer(ours, gone, 0.0), Refused)


def test_it_says_what_it_offers_and_closes() -> None:
    async def scenario() -> None:
        upstream = echo.Echo()
        assert [tool["name"] for tool in (await upstream.describe()).tools] == ["echo", "guarded"]
        await upstream.close()

    asyncio.run(scenario())
