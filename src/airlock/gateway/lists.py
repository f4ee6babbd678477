"""Lists: what this caller may know of, merged over the servers of the route, in a stable order.

The policy that decides calls decides visibility, item by item. A server that is down hides only what it
offers itself; a policy that cannot decide fails the whole list, because an empty list would be an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from airlock.gateway.resolve import LOGIN_NEEDED, visible_servers
from airlock.mcp import results
from airlock.mcp.names import Kind
from airlock.model.call import Authenticated, Identified
from airlock.model.server import Item, RegisteredServer

BREATH = 32
"""Policy evaluations (about 0.1 ms each) between two turns of the event loop: a long list delays nobody's
call."""

Visible = Callable[[Identified, Item], bool]
Shown = Callable[[Item], dict[str, Any]]
Choice = Callable[[Item], bool]

LISTED: Mapping[str, tuple[Kind, str]] = {
    "tools/list": ("tool", "tools"),
    "prompts/list": ("prompt", "prompts"),
    "resources/list": ("resource", "resources"),
    "resources/templates/list": ("template", "resourceTemplates"),
}
"""Method -> what it lists, and the member of its result."""

_NAMED_BY: Mapping[Kind, str] = {
    "tool": "name",
    "prompt": "name",
    "resource": "uri",
    "template": "uriTemplate",
}


async def visible_items(
    identified: Identified, kind: Kind, visible: Visible, shown: Choice = lambda _: True
) -> list[Item]:
    """What the caller may see of a kind: by server id, then by name, by code point (C-2). Policy is not asked
    about what is not to be `shown`."""
    found: list[Item] = []
    for asked, item in enumerate(filter(shown, offered(identified, kind)), start=1):
        if asked % BREATH == 0:
            await asyncio.sleep(0)
        if visible(identified, item):
            found.append(item)
    return found


def offered(identified: Identified, kind: Kind) -> Iterator[Item]:
    """Everything of a kind on the route that could be used, whoever asks, in the order of lists."""
    for held in shelves(identified.caller, kind):
        for item in held.values():
            if item.pin == "pinned" and not item.defect:
                yield item


def shelves(caller: Authenticated, kind: Kind) -> list[dict[str, Item]]:
    """What each server on the route has of a kind, by the servers' ids."""
    return [server.catalog.of(kind) for server in visible_servers(caller) if server.catalog is not None]


def listing(identified: Identified, told: Any) -> dict[str, Any]:
    """The result of a list, from the definitions as a JSON value."""
    return {
        LISTED[identified.message.method][1]: told,
        "_meta": {"dev.airlock/upstreams": states(identified)},
    }


def definitions(identified: Identified, items: Sequence[Item], shown: Shown) -> list[dict[str, Any]]:
    """The items in the client's era, under the names of the route. `shown` gives each as it may leave."""
    federated = not identified.caller.inbound.server
    found = [_definition(item, shown(item), item.alias if federated else item.own) for item in items]
    legacy_tools = not identified.client.modern and bool(items) and items[0].kind == "tool"
    return [results.tool_to_legacy(told) for told in found] if legacy_tools else found


def states(identified: Identified) -> dict[str, str]:
    """State of each server on the route, as far as the tenant can see them (F-7)."""
    caller = identified.caller
    index = caller.snapshot.leases.index
    held = index.servers if index is not None else {}
    return {
        server.entry.name: "contained" if server.entry.name in held else _state(server)
        for server in visible_servers(caller)
    }


def _state(server: RegisteredServer) -> str:
    if server.state == "down" and server.reason == LOGIN_NEEDED:
        return "login_needed"
    return "down" if server.state == "cold" else server.state


def _definition(item: Item, told: dict[str, Any], name: str) -> dict[str, Any]:
    """As the server defined it, under the name of this route, without tasks, which are not served."""
    shown = {**told, _NAMED_BY[item.kind]: name}
    if item.kind == "tool":
        shown.pop("execution", None)
    return shown
