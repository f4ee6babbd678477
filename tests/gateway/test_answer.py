"""What the gateway answers itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

import airlock
from airlock.core.config import Config, ListsSection
from airlock.gateway.diet import HOW
from airlock.model.call import Reply
from airlock.model.server import RegisteredServer
from tests.gateway.parts import META, MODERN, House, definition, entry, no, registered

OUTPUT: dict[str, Any] = {"type": "array", "items": {"type": "string"}}


def ask(
    house: House,
    method: str,
    params: dict[str, Any] | None = None,
    *,
    modern: bool = False,
    server: str = "",
    session: str = "",
    notification: bool = False,
) -> Reply:
    told = dict(params or {})
    headers: dict[str, str] = {"mcp-session-id": session} if session else {}
    if modern:
        told["_meta"] = {f"{META}protocolVersion": MODERN, f"{META}clientCapabilities": {}}
        headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": told}
    if not notification:
        message["id"] = 1
    return asyncio.run(house.govern(house.inbound(message, server=server, headers=headers)))


def result(reply: Reply) -> dict[str, Any]:
    return msgspec.json.decode(reply.body)["result"]


def handshake(house: House, *, server: str = "", version: str = "2025-11-25") -> Reply:
    info = {"name": "c", "version": "1"}
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": info}
    return ask(house, "initialize", params, server=server)


def test_a_handshake_gives_a_session_that_can_be_used(tmp_path: Path) -> None:
    house = House(tmp_path)
    reply = handshake(house)
    assert result(reply)["protocolVersion"] == "2025-11-25"
    assert result(reply)["serverInfo"]["version"] == airlock.__version__
    session = dict(reply.headers)["mcp-session-id"]
    assert result(ask(house, "ping", session=session)) == {}
    row = house.log.events[0]
    assert (row.action, row.reason, row.decision) == ("session", "session_started", "allow")
    assert row.personal.session_digest


@pytest.mark.parametrize(("asked", "answered"), [("2024-11-05", "2024-11-05"), ("2031-01-01", "2025-11-25")])
def test_the_version_is_the_clients_if_it_is_known(tmp_path: Path, asked: str, answered: str) -> None:
    assert result(handshake(House(tmp_path), version=asked))["protocolVersion"] == answered


def test_on_its_own_route_a_server_introduces_itself(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert result(handshake(house, server="docs"))["serverInfo"] == {"name": "toy", "version": "1"}


def test_a_server_that_was_never_read_is_introduced_as_the_gateway(tmp_path: Path) -> None:
    house = House(tmp_path, RegisteredServer(entry=entry()))
    assert result(handshake(house, server="docs"))["serverInfo"]["name"] == "airlock"


def speaking(text: str, name: str = "docs", **more: Any) -> RegisteredServer:
    server = registered(name, trust_instructions=True, **more)
    assert server.catalog is not None
    return structs.replace(server, catalog=structs.replace(server.catalog, instructions=text))


def test_f5_instructions_are_the_operators_and_then_those_of_trusted_servers(tmp_path: Path) -> None:
    trusted, other = speaking("Ask twice. Write to a@example.com."), registered("files")
    theirs = speaking("Theirs.", "theirs", tenant="globex")
    house = House(tmp_path, trusted, other, theirs, redaction={"detectors": ("email",)})
    usual = result(handshake(house))["instructions"]
    assert usual.startswith("Tools of several servers")
    assert usual.endswith("From the server docs: Ask twice. Write to [REDACTED:email].")
    house.answers.reload(Config(lists=ListsSection(instructions="Be brief.", find_tools=True)))
    told = result(ask(house, "server/discover", modern=True))["instructions"].split("\n\n")
    assert told[0] == f"Be brief. {HOW}"
    assert told[1].startswith("From the server docs: Ask twice.")


def test_f5_on_its_own_route_a_server_is_heard_where_it_is_trusted(tmp_path: Path) -> None:
    house = House(tmp_path, speaking("é" * 1500), registered("files"))
    assert result(handshake(house, server="docs"))["instructions"] == "é" * 1024
    assert "instructions" not in result(handshake(house, server="files"))


def test_discovery_names_the_versions_of_the_envelope_and_may_be_kept_privately(tmp_path: Path) -> None:
    found = result(ask(House(tmp_path), "server/discover", modern=True))
    assert found["supportedVersions"] == [MODERN]
    assert (found["resultType"], found["cacheScope"]) == ("complete", "private")


def test_a_list_has_the_shape_of_the_clients_era(tmp_path: Path) -> None:
    house = House(tmp_path, registered("docs", definition(outputSchema=OUTPUT)))
    modern = result(ask(house, "tools/list", modern=True))
    legacy = result(ask(house, "tools/list"))
    assert (modern["resultType"], modern["cacheScope"], modern["ttlMs"]) == ("complete", "private", 30_000)
    assert modern["tools"][0]["outputSchema"] == OUTPUT
    assert not {"resultType", "ttlMs", "cacheScope"} & set(legacy)
    assert "outputSchema" not in legacy["tools"][0]
    assert modern["tools"][0]["name"] == legacy["tools"][0]["name"] == "docs__echo"


def test_on_the_route_of_a_server_its_own_names_are_listed(tmp_path: Path) -> None:
    found = result(ask(House(tmp_path), "tools/list", server="docs"))
    assert [tool["name"] for tool in found["tools"]] == ["echo"]


def test_what_policy_hides_is_not_listed(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.engine.answer = no
    assert result(ask(house, "tools/list"))["tools"] == []


def test_a_list_that_policy_cannot_decide_is_no_empty_list(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.engine.answer = lambda asked: asked["nothing"]
    assert b"internal_error" in ask(house, "tools/list").body


@pytest.mark.parametrize("cursor", ["", "forged"])
def test_a_cursor_was_never_given_to_anybody(tmp_path: Path, cursor: str) -> None:
    reply = ask(House(tmp_path), "tools/list", {"cursor": cursor})
    assert msgspec.json.decode(reply.body)["error"]["code"] == -32602


def test_a_notification_is_accepted_without_a_word(tmp_path: Path) -> None:
    house = House(tmp_path)
    session = dict(handshake(house).headers)["mcp-session-id"]
    reply = ask(house, "notifications/initialized", session=session, notification=True)
    assert (reply.status, reply.body) == (202, b"")


@pytest.mark.parametrize(("modern", "status"), [(True, 404), (False, 200)])
def test_a_method_that_is_not_served_is_not_found(tmp_path: Path, modern: bool, status: int) -> None:
    house = House(tmp_path)
    session = "" if modern else dict(handshake(house).headers)["mcp-session-id"]
    reply = ask(house, "roots/list", modern=modern, session=session)
    assert (reply.status, msgspec.json.decode(reply.body)["error"]["code"]) == (status, -32601)
    assert house.log.events[-1].reason == "method_not_found"


def test_allowed_lists_are_recorded_only_where_that_is_asked_for(tmp_path: Path) -> None:
    quiet, loud = House(tmp_path), House(tmp_path, all_requests=True)
    for house in (quiet, loud):
        ask(house, "tools/list")
        ask(house, "server/discover", modern=True)
        ask(house, "ping")
    assert quiet.log.events == []
    assert [(event.action, event.reason) for event in loud.log.events] == [
        ("tools_list", "ok"),
        ("discover", "ok"),
        ("ping", "ok"),
    ]
    assert loud.log.events[0].metadata["count"] == 1


def test_a_handshake_that_cannot_be_recorded_gives_no_session(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.log.broken = lambda _event: True
    reply = handshake(house)
    assert "mcp-session-id" not in dict(reply.headers)
    assert b"50303" in reply.body
