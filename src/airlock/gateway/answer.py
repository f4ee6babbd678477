"""What the gateway answers itself: handshake, discovery, lists, ping. Nothing upstream hears of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import airlock
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import Rejected
from airlock.gateway import diet, lists
from airlock.gateway.definitions import Definitions
from airlock.gateway.diet import Diet
from airlock.gateway.lists import Visible
from airlock.gateway.sessions import SESSION_HEADER, Sessions
from airlock.mcp import eras, jsonrpc, results
from airlock.mcp.jsonrpc import Notification
from airlock.mcp.methods import unknown_method
from airlock.model.call import Findings, Identified, Reply
from airlock.model.server import Catalog

SERVER_INFO = {"name": "airlock", "title": "Airlock", "version": airlock.__version__}

INSTRUCTIONS = (
    "Tools of several servers behind one gateway, named server__tool. Every call is checked against "
    "policy and recorded. A refusal says why; do not try the same action by another way."
)


class Listed(Protocol):
    """The part of the record that answers need."""

    async def listed(
        self, caller: Identified, metadata: dict[str, Any], action: str | None = None
    ) -> None: ...

    async def redacted(self, reached: Identified, found: Findings) -> None: ...

    async def session_started(self, identified: Identified, sid: str) -> None: ...


class Answers:
    """One method per MCP method; `__call__` picks it. Unknown methods are refused, never passed on."""

    def __init__(
        self,
        *,
        visible: Visible,
        sessions: Sessions,
        record: Listed,
        clock: Clock,
        definitions: Definitions,
        diet: Diet,
    ) -> None:
        self.diet = diet
        self._definitions = definitions
        self._visible = visible
        self._sessions = sessions
        self._record = record
        self._clock = clock
        self._methods: dict[str, Callable[[Identified], Awaitable[Reply]]] = {
            "initialize": self._initialize,
            "server/discover": self._discover,
            "tools/list": self._tools,
            "tools/call": self._find,
            "ping": self._ping,
        }

    def reload(self, config: Config) -> None:
        """Take over what another configuration says of lists."""
        self.diet = Diet(config.lists)

    def owns(self, identified: Identified) -> bool:
        """Whether the gateway answers the message itself, and no upstream hears of it."""
        return identified.message.method != "tools/call" or self.diet.is_find(identified)

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
        found = Findings()
        result = {"protocolVersion": version, **self._identity(identified, found)}
        return await self._reply(identified, result, found, ((SESSION_HEADER, sealed),))

    async def _discover(self, identified: Identified) -> Reply:
        await self._record.listed(identified, {})
        found = Findings()
        result = {"supportedVersions": list(eras.MODERN), **self._identity(identified, found)}
        return await self._reply(identified, _cacheable(identified, result), found)

    async def _tools(self, identified: Identified) -> Reply:
        if identified.message.params.get("cursor") is not None:
            raise Rejected(200, -32602, "cursor_unknown", "Unknown cursor: the list has one page.")
        tools = await lists.visible_tools(identified, self._visible, self.diet.shown(identified))
        await self._record.listed(identified, {"count": len(tools)})
        found = Findings()
        result = lists.listing(identified, tools, self._definitions.shown(found))
        if self.diet.finds(identified):
            result["tools"].insert(0, diet.DEFINITION)
        return await self._reply(identified, _cacheable(identified, result), found)

    async def _find(self, identified: Identified) -> Reply:
        query = diet.read_query(identified.message.params.get("arguments", {}))
        tools = await self.diet.find(identified, query, self._visible)
        await self._record.listed(identified, {"count": len(tools), "find": True}, "tools_list")
        found = Findings()
        told = diet.told(lists.definitions(identified, tools, self._definitions.shown(found)))
        return await self._reply(identified, told, found)

    async def _ping(self, identified: Identified) -> Reply:
        await self._record.listed(identified, {})
        return await self._reply(identified, {}, Findings())

    def _identity(self, identified: Identified, found: Findings) -> dict[str, Any]:
        """Who answers: the gateway on `/mcp`, the server itself (as far as it is served) on its own route."""
        if not identified.caller.inbound.server:
            told = f"{INSTRUCTIONS} {diet.HOW}" if self.diet.finds(identified) else INSTRUCTIONS
            return {"capabilities": {"tools": {}}, "serverInfo": SERVER_INFO, "instructions": told}
        return {
            "capabilities": {"tools": {}},
            "serverInfo": self._definitions.info(server_info(identified), found),
        }

    async def _reply(
        self,
        identified: Identified,
        result: dict[str, Any],
        found: Findings,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        """The result in the client's shape, once it is recorded what was taken out of it."""
        if identified.client.modern:
            info = self._definitions.info(server_info(identified), found)
            result = results.to_modern(result, server_info=info, cacheable=False)
        if identified.id is None:
            raise RuntimeError("a notification is not answered")
        if found.counts:
            await self._record.redacted(identified, found)
        return Reply(body=jsonrpc.result(identified.id, result), headers=headers)


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
    return {**result, "ttlMs": lists.ttl_ms(identified), "cacheScope": "private"}
