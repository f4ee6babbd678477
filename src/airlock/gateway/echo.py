"""The gateway's own server `airlock`, by whose tools checks go the whole way of a call.

It exists for the principal `synthetic` and for nobody else, so that it takes no room in anybody's lists; for
that principal its tools are like any others. Both do nothing but answer with the text that they were given.
`echo` is read-only and low; `guarded` counts as critical, so that policy has something to refuse.
"""

from __future__ import annotations

from typing import Any

import msgspec

from airlock.core.config import ServerEntry, ToolEntry
from airlock.gateway import catalog
from airlock.gateway.reached import Governed, unfold
from airlock.mcp.eras import MODERN
from airlock.mcp.methods import CALLS
from airlock.model.principal import Principal
from airlock.model.server import RegisteredServer
from airlock.model.snapshot import Snapshot
from airlock.model.upstream import Ask, Notify, Offer, UpstreamAnswer, UpstreamRequest

SYNTHETIC = "synthetic"
"""Subject of the credential that checks use. No person may be called so."""

NAME = "airlock"

LONGEST = 64 * 1024
"""Characters of a text."""

ECHO, GUARDED = "echo", "guarded"


def _definition(name: str, title: str, description: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string", "maxLength": LONGEST}},
            "required": ["text"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": read_only, "openWorldHint": False},
    }


OFFER = Offer(
    era=MODERN[-1],
    server_info={"name": NAME},
    capabilities={"tools": {}},
    instructions="",
    tools=(
        _definition(
            ECHO,
            "Echo",
            "Answers with the text that it is given. For checks of the gateway.",
            read_only=True,
        ),
        _definition(
            GUARDED,
            "Guarded echo",
            "Answers with the text that it is given, where policy lets a critical tool be called. For checks "
            "that it does not.",
            read_only=False,
        ),
    ),
    ttl=3600.0,
)

ENTRY = ServerEntry(
    name=NAME,
    transport="stdio",
    sensitivity="low",
    read_only=True,
    owner=NAME,
    tools={GUARDED: ToolEntry(sensitivity="critical", read_only=False)},
)

SERVER = RegisteredServer(
    entry=ENTRY,
    catalog=catalog.build(ENTRY, OFFER, dict.fromkeys((ECHO, GUARDED), "pinned"), now=0.0),
    state="ready",
)


class Echo:
    """The upstream behind it: nothing leaves the process."""

    async def describe(self) -> Offer:
        return OFFER

    async def request(
        self, request: UpstreamRequest, *, notify: Notify | None = None, ask: Ask | None = None
    ) -> UpstreamAnswer:
        del notify, ask
        result = {"content": [{"type": "text", "text": request.params["arguments"]["text"]}]}
        return UpstreamAnswer(result=result, size=len(msgspec.json.encode(result)), era=OFFER.era)

    async def close(self) -> None:
        """There is nothing to close."""


def server_for(principal: Principal, snapshot: Snapshot, name: str) -> RegisteredServer | None:
    """The server of that name as far as this caller may know of it, whatever its tenant."""
    found = snapshot.registry.servers.get(name)
    if found is None and name == NAME and principal.subject == SYNTHETIC:
        return SERVER
    return found


def harmless(reached: Governed) -> bool:
    """Whether nothing was tried but what checks try: the gateway's own tools, and messages that name none.
    Only then the row of a check is marked as one: who takes its credential to a server that people use, or
    to look for one, is seen like everybody."""
    caller, identified, routed, _, _ = unfold(reached)
    if routed is not None:
        return routed.server is SERVER
    names_a_tool = identified is not None and identified.message.method in CALLS
    return not names_a_tool and caller.inbound.server in ("", NAME)
