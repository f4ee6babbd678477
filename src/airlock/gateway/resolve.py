"""Stage 2: from a name to one tool of one server. What belongs to another tenant does not exist."""

from __future__ import annotations

from airlock.core.errors import Effect, Rejected, Stage, UpstreamFault
from airlock.gateway import echo
from airlock.mcp import names
from airlock.model.call import Authenticated, Identified, Routed
from airlock.model.server import RegisteredServer, Tool

MAX_SHOWN = 256
"""Characters of an unknown name that are repeated to the caller: twice what a name may have."""


def unknown_tool(name: str, reason: str = "unknown_tool") -> Rejected:
    """One answer for what does not exist and for what the caller may not know of."""
    return Rejected(200, -32602, reason, f"Unknown tool: {name[:MAX_SHOWN]}", stage=Stage.RESOLVE)


def resolve(identified: Identified) -> Routed:
    """Raise `Rejected` for a name that means nothing to this caller, `UpstreamFault` for a server never
    seen."""
    params = identified.message.params
    if "requestState" in params:
        text = "`params.requestState` was not issued by this gateway."
        raise Rejected(200, -32602, "request_state_invalid", text, stage=Stage.RESOLVE)
    server, tool = find(identified)
    return Routed(identified=identified, server=server, tool=tool, arguments=params.get("arguments", {}))


def find(identified: Identified) -> tuple[RegisteredServer, Tool]:
    """The server and tool that the request names, as far as the caller's tenant can see them."""
    caller = identified.caller
    name = identified.message.params["name"]
    server_id = caller.inbound.server or names.split(name)[0]
    server = echo.server_for(caller.principal, caller.snapshot, server_id)
    if server is None:
        raise unknown_tool(name)
    if server.entry.tenant and server.entry.tenant != caller.principal.tenant:
        raise unknown_tool(name, "cross_tenant_attempt")
    if server.catalog is None:
        raise UpstreamFault.unavailable(f"{server_id}: {server.reason}", effect=Effect.NONE, retry_after=5)
    known = server.catalog.tools if caller.inbound.server else server.catalog.by_alias
    tool = known.get(name)
    if tool is None:
        raise unknown_tool(name)
    return server, tool


def require_route(caller: Authenticated) -> None:
    """Refuse `/mcp/{server}` where the caller's tenant has no such server, in the words of a wrong method
    (F-4)."""
    only = caller.inbound.server
    server = echo.server_for(caller.principal, caller.snapshot, only)
    if not only or (server is not None and server.entry.tenant in ("", caller.principal.tenant)):
        return
    reason = "cross_tenant_attempt" if server is not None else "server_unknown"
    raise Rejected(
        404, -32601, reason, "Method not found: there is no such server here.", stage=Stage.RESOLVE
    )


def visible_servers(caller: Authenticated) -> list[RegisteredServer]:
    """The servers on the caller's route that it can see, in order of their ids."""
    only = caller.inbound.server
    names = (only,) if only else (*caller.snapshot.registry.servers, echo.NAME)
    chosen = {name: echo.server_for(caller.principal, caller.snapshot, name) for name in names}
    seen = (server for server in chosen.values() if server is not None)
    own = [server for server in seen if server.entry.tenant in ("", caller.principal.tenant)]
    return sorted(own, key=lambda server: server.entry.name)
