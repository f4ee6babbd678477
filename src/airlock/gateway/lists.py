"""`tools/list`: what this caller may know of, merged over the servers of the route, in a stable order.

The policy that decides calls decides visibility, tool by tool. A server that is down hides only its own
tools; a policy that cannot decide fails the whole list, because an empty list would be an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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

Visible = Callable[[Identified, Tool], bool]


async def visible_tools(identified: Identified, visible: Visible) -> list[Tool]:
    """The tools that the caller may see: by server id, then by tool name, by code point (C-2)."""
    caller = identified.caller
    found: list[Tool] = []
    asked = 0
    for server in visible_servers(caller.snapshot, caller.principal.tenant, caller.inbound.server):
        if server.catalog is None:
            continue
        for tool in server.catalog.tools.values():
            if tool.pin != "pinned" or tool.defect:
                continue
            asked += 1
            if asked % BREATH == 0:
                await asyncio.sleep(0)
            if visible(identified, tool):
                found.append(tool)
    return found


def listing(identified: Identified, tools: list[Tool]) -> dict[str, Any]:
    """The result of `tools/list` in the client's era."""
    federated = not identified.caller.inbound.server
    shown = [_definition(tool, tool.alias if federated else tool.name) for tool in tools]
    if not identified.client.modern:
        shown = [results.tool_to_legacy(definition) for definition in shown]
    return {"tools": shown, "_meta": {"dev.airlock/upstreams": states(identified)}}


def states(identified: Identified) -> dict[str, str]:
    """State of each server on the route, as far as the tenant can see them."""
    caller = identified.caller
    return {
        server.entry.name: _state(server)
        for server in visible_servers(caller.snapshot, caller.principal.tenant, caller.inbound.server)
    }


def _state(server: RegisteredServer) -> str:
    return "down" if server.state == "cold" else server.state


def _definition(tool: Tool, name: str) -> dict[str, Any]:
    """As the server defined it, under the name of this route, without tasks, which are not served."""
    shown = {**tool.definition, "name": name}
    shown.pop("execution", None)
    return shown
