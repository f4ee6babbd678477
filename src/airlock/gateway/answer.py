"""What the gateway answers itself: handshake, discovery, lists, ping. Nothing upstream hears of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import airlock
from airlock.core.clock import Clock
from airlock.core.errors import Rejected
from airlock.gateway import lists
from airlock.gateway.lists import Visible
from airlock.gateway.sessions import SESSION_HEADER, Sessions
from airlock.mcp import eras, jsonrpc, results
from airlock.mcp.jsonrpc import Notification
from airlock.mcp.methods import unknown_method
from airlock.model.call import Identified, Reply
from airlock.model.server import Catalog

SERVER_INFO = {"name": "airlock", "title": "Airlock", "version": airlock.__version__}

INSTRUCTIONS = (
    "Tools of several servers behind one gateway, named server__tool. Every call is checked against "
    "policy and recorded. A refusal says why; do not try the same action by another way."
)


class Listed(Protocol):
    """The part of the record that answers need."""

    async def listed(self, caller: Identified, metadata: dict[str, Any]) -> None: ...

    async def session_started(self, identified: Identified, sid: str) -> None: ...


class Answers:
    """One method per MCP method; `__call__` picks it. Unknown methods are refused, never passed on."""

    def __init__(self, *, visible: Visible, sessions: Sessions, record: Listed, clock: Clock) -> None:
        self._visible = visible
        self._sessions = sessions
        self._record = record
        self._clock = clock
        self._methods: dict[str, Callable[[Identified], Awaitable[Reply]]] = {
            "initialize": self._initialize,
            "server/discover": self._discover,
            "tools/list": self._tools,
            "ping": self._ping,
        }

    async def __call__(self, identified: Identified) -> Reply:
        name = identified.message.method
        if isinstance(identified.message, Notification):
            return Reply(body=b"", status=202)
        method = self._methods.get(name)
        if method is None or (name == "server/discover" and not identified.client.modern):
            raise unknown_method(name, modern=identified.client.modern)
        return await method(identified)

    async def _initialize(self, identified: Identified) -> Reply:
        version = identified.client.version
        sealed, sid = self._sessions.mint(identified.caller, version, self._clock.wall())
        await self._record.session_started(identified, sid)
        result = {"protocolVersion": version, **self._identity(identified)}
        return _reply(identified, result, ((SESSION_HEADER, sealed),))

    async def _discover(self, identified: Identified) -> Reply:
        await self._record.listed(identified, {})
        result = {"supportedVersions": list(eras.MODERN), **self._identity(identified)}
        return _reply(identified, _cacheable(identified, result))

    async def _tools(self, identified: Identified) -> Reply:
        if identified.message.params.get("cursor") is not None:
            raise Rejected(200, -32602, "cursor_unknown", "Unknown cursor: the list has one page.")
        tools = await lists.visible_tools(identified, self._visible)
        await self._record.listed(identified, {"count": len(tools)})
        return _reply(identified, _cacheable(identified, lists.listing(identified, tools)))

    async def _ping(self, identified: Identified) -> Reply:
        await self._record.listed(identified, {})
        return _reply(identified, {})

    def _identity(self, identified: Identified) -> dict[str, Any]:
        """Who answers: the gateway on `/mcp`, the server itself (as far as it is served) on its own route."""
        catalog = catalog_of(identified)
        if not identified.caller.inbound.server:
            return {"capabilities": {"tools": {}}, "serverInfo": SERVER_INFO, "instructions": INSTRUCTIONS}
        return {
            "capabilities": {"tools": {}},
            "serverInfo": (catalog.server_info if catalog else None) or SERVER_INFO,
        }


def catalog_of(identified: Identified) -> Catalog | None:
    """The catalog of the route's server, if it is a route of one server and that was read already."""
    server = identified.caller.snapshot.registry.servers.get(identified.caller.inbound.server)
    return server.catalog if server else None


def server_info(identified: Identified) -> dict[str, Any]:
    """`serverInfo` of answers on this route."""
    catalog = catalog_of(identified)
    return (catalog.server_info if catalog else None) or SERVER_INFO


def _cacheable(identified: Identified, result: dict[str, Any]) -> dict[str, Any]:
    if not identified.client.modern:
        return result
    return {**result, "ttlMs": lists.TTL_MS, "cacheScope": "private"}


def _reply(
    identified: Identified, result: dict[str, Any], headers: tuple[tuple[str, str], ...] = ()
) -> Reply:
    if identified.client.modern:
        result = results.to_modern(result, server_info=server_info(identified), cacheable=False)
    if identified.id is None:
        raise RuntimeError("a notification is not answered")
    return Reply(body=jsonrpc.result(identified.id, result), headers=headers)
