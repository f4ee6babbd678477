"""`tools/list`: what this caller may know of, merged over the servers of the route, in a stable order.

The policy that decides calls decides visibility, tool by tool. A server that is down hides only its own
tools; a policy that cannot decide fails the whole list, because an empty list would be an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from airlock.gateway.resolve import visible_servers
from airlock.mcp import results
from airlock.model.call import Identified
from airlock.model.server import RegisteredServer, Tool

BREATH = 32
"""Policy evaluations (about 0.1 ms each) between two turns of the event loop: a long list delays nobody's
call."""

TTL_MS = 30_000
"""How long a client may keep a list: changes of policy and approvals show within this time."""

CONTAINED_TTL_MS = 5_000
"""The same while a lease holds back servers or tools: their end shows within this time (C-5)."""

Visible = Callable[[Identified, Tool], bool]
Shown = Callable[[Tool], dict[str, Any]]


def ttl_ms(identified: Identified) -> int:
    """How long this caller may keep a list, in milliseconds."""
    index = identified.caller.snapshot.leases.index
    held = index is not None and (index.servers or index.tools)
    return CONTAINED_TTL_MS if held else TTL_MS


async def visible_tools(
    identified: Identified, visible: Visible, shown: Callable[[Tool], bool] = lambda _: True
) -> list[Tool]:
    """The tools that the caller may see: by server id, then by tool name, by code point (C-2). Policy is not
    asked about a tool that is not to be `shown`."""
    found: list[Tool] = []
    for asked, tool in enumerate(filter(shown, offered(identified)), start=1):
        if asked % BREATH == 0:
            await asyncio.sleep(0)
        if visible(identified, tool):
            found.append(tool)
    return found


def offered(identified: Identified) -> Iterator[Tool]:
    """Every tool on the route that could be called, whoever asks, in the order of lists."""
    caller = identified.caller
    for server in visible_servers(caller):
        if server.catalog is not None:
            for tool in server.catalog.tools.values():
                if tool.pin == "pinned" and not tool.defect:
                    yield tool


def listing(
    identified: Identified, tools: list[Tool], shown: Shown = lambda tool: tool.definition
) -> dict[str, Any]:
    """The result of `tools/list` in the client's era. `shown` gives each definition as it may leave."""
    return {
        "tools": definitions(identified, tools, shown),
        "_meta": {"dev.airlock/upstreams": states(identified)},
    }


def definitions(identified: Identified, tools: list[Tool], shown: Shown) -> list[dict[str, Any]]:
    """The tools in the client's era, under the names of the route."""
    federated = not identified.caller.inbound.server
    found = [_definition(shown(tool), tool.alias if federated else tool.name) for tool in tools]
    return found if identified.client.modern else [results.tool_to_legacy(told) for told in found]


def states(identified: Identified) -> dict[str, str]:
    """State of each server on the route, as far as the tenant can see them."""
    caller = identified.caller
    return {server.entry.name: _state(server) for server in visible_servers(caller)}


def _state(server: RegisteredServer) -> str:
    return "down" if server.state == "cold" else server.state


def _definition(told: dict[str, Any], name: str) -> dict[str, Any]:
    """As the server defined it, under the name of this route, without tasks, which are not served."""
    shown = {**told, "name": name}
    shown.pop("execution", None)
    return shown
