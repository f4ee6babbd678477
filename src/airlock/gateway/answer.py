"""What the gateway answers itself: handshake, discovery, lists, ping. Nothing upstream hears of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import airlock
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.gateway import capabilities, diet, lists
from airlock.gateway import instructions as told_how
from airlock.gateway.definitions import Definitions
from airlock.gateway.diet import Diet
from airlock.gateway.lifetime import Lifetime
from airlock.gateway.listens import LISTEN
from airlock.gateway.lists import LISTED, Visible
from airlock.gateway.pages import Pages
from airlock.gateway.sessions import SESSION_HEADER, Sessions
from airlock.gateway.told import Masked, Told, nothing
from airlock.gateway.visibility import Visibility
from airlock.mcp import abilities, eras, jsonrpc, results
from airlock.mcp.jsonrpc import Request
from airlock.mcp.methods import CALLS, unknown_method
from airlock.model.call import Findings, Identified, Reply
from airlock.model.server import Catalog
from airlock.model.upstream import Notify

SERVER_INFO = {"name": "airlock", "title": "Airlock", "version": airlock.__version__}


class Listed(Protocol):
    """The part of the record that answers need."""

    async def listed(
        self, caller: Identified, metadata: dict[str, Any], action: str | None = None
    ) -> None: ...

    async def redacted(self, reached: Identified, found: Findings) -> None: ...

    async def session_started(self, identified: Identified, sid: str) -> None: ...


Listen = Callable[[Identified, Notify], Awaitable[Reply]]
"""Tells a client of changes until the subscription ends."""


def unheard(method: str, params: dict[str, Any]) -> None:
    """Nobody hears what comes before the answer."""
    del method, params


Heard = Callable[[Identified], Awaitable[None]]
"""Takes over what a client said. Raises `Refused`."""


async def ignore(identified: Identified) -> None:
    """Nobody takes it over."""
    del identified


class Answers:
    """One method per MCP method; `__call__` picks it. Unknown methods are refused, never passed on."""

    def __init__(
        self,
        *,
        visible: Visible,
        visibility: Visibility,
        pages: Pages,
        lifetime: Lifetime,
        sessions: Sessions,
        record: Listed,
        clock: Clock,
        definitions: Definitions,
        diet: Diet,
        masked: Masked = nothing,
        instructions: str = "",
        heard: Heard = ignore,
        set_level: Heard = ignore,
        end_subscription: Heard = ignore,
        listen: Listen | None = None,
    ) -> None:
        """`instructions` are the operator's, empty for the usual ones. `heard` takes what gets no answer,
        `set_level` the level of messages that a session wants, `end_subscription` what it does not want to
        hear of any more."""
        self._end_subscription = end_subscription
        self._listen = listen
        self._heard = heard
        self._set_level = set_level
        self._instructions = instructions
        self.diet = diet
        self._definitions = definitions
        self._told = Told(definitions=definitions, masked=masked)
        self._visible = visible
        self._visibility = visibility
        self._pages = pages
        self._lifetime = lifetime
        self._sessions = sessions
        self._record = record
        self._clock = clock
        self._methods: dict[str, Callable[[Identified], Awaitable[Reply]]] = {
            "initialize": self._initialize,
            "server/discover": self._discover,
            "tools/list": self._list,
            "prompts/list": self._list,
            "resources/list": self._list,
            "resources/templates/list": self._list,
            "tools/call": self._find,
            "logging/setLevel": self._level,
            "resources/unsubscribe": self._unsubscribe,
            "ping": self._ping,
        }

    def reload(self, config: Config) -> None:
        """Take over what another configuration says of lists."""
        self.diet = Diet(config.lists)
        self._pages.size = config.lists.page
        self._lifetime.most = config.catalog.max_ttl
        self._instructions = config.lists.instructions

    def owns(self, identified: Identified) -> bool:
        """Whether the gateway answers the message itself, and no upstream hears of it."""
        return identified.message.method not in CALLS or self.diet.is_find(identified)

    async def __call__(self, identified: Identified, notify: Notify = unheard) -> Reply:
        name = identified.message.method
        if not isinstance(identified.message, Request):
            await self._heard(identified)
            return Reply(body=b"", status=202)
        if name == LISTEN and self._listen is not None and identified.client.modern:
            return await self._listen(identified, notify)
        method = self._methods.get(name)
        if method is None or (name == "server/discover" and not identified.client.modern):
            raise unknown_method(name, modern=identified.client.modern)
        return await method(identified)

    async def _initialize(self, identified: Identified) -> Reply:
        version, can = identified.client.version, abilities.packed(identified.client.capabilities)
        sealed, sid = self._sessions.mint(identified.caller, version, self._clock.wall(), can=can)
        await self._record.session_started(identified, sid)
        found = Findings()
        result = {"protocolVersion": version, **self._identity(identified, found)}
        return await self._reply(identified, result, found, ((SESSION_HEADER, sealed),))

    async def _discover(self, identified: Identified) -> Reply:
        await self._record.listed(identified, {})
        found = Findings()
        result = {"supportedVersions": list(eras.MODERN), **self._identity(identified, found)}
        return await self._reply(identified, self._cacheable(identified, result), found)

    async def _list(self, identified: Identified) -> Reply:
        """One page of what the caller may know of. Narrowing and the search are about tools."""
        kind = LISTED[identified.message.method][0]
        if kind == "tool":
            chosen, shown = self.diet.chosen(identified), self.diet.shown(identified)
            items = await self._visibility(identified, kind, chosen, shown)
        else:
            items = await self._visibility(identified, kind)
        page, cursor = self._pages.page(identified, items)
        found = Findings()
        if kind == "tool" and self.diet.finds(identified):
            told: Any = [diet.DEFINITION, *self._told.definitions(identified, page, found)]
        else:
            told = (self._told.encoded if page is items else self._told.definitions)(identified, page, found)
        # Policy may be replaced while this waits: what is masked belongs to what is visible.
        await self._record.listed(identified, {"count": len(page)})
        result = lists.listing(identified, told)
        if cursor is not None:
            result["nextCursor"] = cursor
        return await self._reply(identified, self._cacheable(identified, result), found)

    async def _find(self, identified: Identified) -> Reply:
        query = diet.read_query(identified.message.params.get("arguments", {}))
        tools = await self.diet.find(identified, query, self._visible)
        await self._record.listed(identified, {"count": len(tools), "find": True}, "tools_list")
        found = Findings()
        told = diet.told(self._told.definitions(identified, tools, found))
        return await self._reply(identified, told, found)

    async def _ping(self, identified: Identified) -> Reply:
        await self._record.listed(identified, {})
        return await self._reply(identified, {}, Findings())

    async def _unsubscribe(self, identified: Identified) -> Reply:
        if not identified.client.session:
            raise unknown_method("resources/unsubscribe", modern=identified.client.modern)
        await self._record.listed(identified, {})
        await self._end_subscription(identified)
        return await self._reply(identified, {}, Findings())

    async def _level(self, identified: Identified) -> Reply:
        if not identified.client.session:
            raise unknown_method("logging/setLevel", modern=identified.client.modern)
        await self._record.listed(identified, {})
        await self._set_level(identified)
        return await self._reply(identified, {}, Findings())

    def _identity(self, identified: Identified, found: Findings) -> dict[str, Any]:
        """Who answers: the gateway on `/mcp`, the server itself (as far as it is served) on its own route."""
        told: dict[str, Any] = {"serverInfo": server_info(identified)}
        hint = diet.HOW if self.diet.finds(identified) else ""
        if text := told_how.of_route(identified, self._instructions, hint):
            told["instructions"] = text
        return {"capabilities": capabilities.served(identified), **self._definitions.info(told, found)}

    def _cacheable(self, identified: Identified, result: dict[str, Any]) -> dict[str, Any]:
        if not identified.client.modern:
            return result
        return {**result, "ttlMs": self._lifetime.of_list(identified), "cacheScope": "private"}

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
    catalog = catalog_of(identified) if identified.caller.inbound.server else None
    return (catalog.server_info if catalog else None) or SERVER_INFO
