"""What the gateway says that it can do: what the servers on the route can, as far as it is served.

Experimental capabilities, extensions and tasks pass in no direction: what nobody has looked at is not served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airlock.gateway.resolve import visible_servers
from airlock.mcp.strict import is_object
from airlock.model.call import Identified

SERVED: Mapping[str, frozenset[str]] = {
    "tools": frozenset({"listChanged"}),
    "prompts": frozenset({"listChanged"}),
    "resources": frozenset({"subscribe", "listChanged"}),
    "completions": frozenset(),
    "logging": frozenset(),
}
"""Capability -> those of its flags that are served."""

_UNREAD: dict[str, Any] = {"tools": {}}
"""Of a server that was not read yet."""


def served(identified: Identified) -> dict[str, Any]:
    """The server's own on its route; the union of all on `/mcp`, where there are always tools."""
    federated = not identified.caller.inbound.server
    told: dict[str, dict[str, Any]] = {"tools": {}} if federated else {}
    for server in visible_servers(identified.caller):
        said = server.catalog.capabilities if server.catalog is not None else _UNREAD
        for name, flags in SERVED.items():
            held: Any = said.get(name)
            if is_object(held):
                told.setdefault(name, {}).update({flag: True for flag in flags if held.get(flag) is True})
    return {name: told[name] for name in SERVED if name in told}
