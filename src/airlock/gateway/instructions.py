"""What a client is told about how to use a route (F-5): the operator's words, and those of trusted servers.

What a server says of its use reaches a model as if the operator said it, so it counts only where the
operator said that it may, is bounded, and names who says it.
"""

from __future__ import annotations

from airlock.gateway.resolve import visible_servers
from airlock.model.call import Identified
from airlock.model.server import RegisteredServer

USUAL = (
    "Tools of several servers behind one gateway, named server__tool. Every call is checked against "
    "policy and recorded. A refusal says why; do not try the same action by another way."
)

MOST = 2048
"""Bytes of what one server says."""


def of_route(identified: Identified, operators: str, hint: str = "") -> str:
    """On `/mcp` the operator's text, or the usual one, then `hint` and what each trusted server says; on the
    route of one server what that one says. Empty for nothing."""
    servers = visible_servers(identified.caller)
    if identified.caller.inbound.server:
        return "".join(_said(server) for server in servers)
    said = [f"From the server {server.entry.name}: {text}" for server in servers if (text := _said(server))]
    return "\n\n".join((f"{operators or USUAL} {hint}".rstrip(), *said))


def _said(server: RegisteredServer) -> str:
    if server.catalog is None or not server.entry.trust_instructions:
        return ""
    return server.catalog.instructions.encode()[:MOST].decode(errors="ignore").strip()
