"""Stage 2: from a name or a URI to one thing that one server offers. What belongs to another tenant does not
exist, and neither does a resource that is in no list and of no template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airlock.core.errors import Effect, LoginNeeded, Rejected, Stage, UpstreamFault
from airlock.gateway import echo
from airlock.mcp import results, uris
from airlock.mcp.methods import named_by, server_named
from airlock.model.call import Authenticated, Identified, Routed
from airlock.model.server import Catalog, Item, RegisteredServer

LOGIN_NEEDED = "link_required"
"""Reason of a server that tells nobody of itself who has not logged in."""

MAX_SHOWN = 256
"""Characters of an unknown name that are repeated to the caller: twice what a name may have."""

MAX_URI = 2048
"""The same of an unknown URI."""

_UNKNOWN = {"tool": "unknown_tool", "prompt": "unknown_prompt", "resource": "unknown_resource"}

Found = tuple[Item | None, dict[str, Any], str]
"""What is named, the arguments, and the server's own URI."""


def resolve(identified: Identified) -> Routed:
    """Raise `Rejected` for a name that means nothing to this caller, `UpstreamFault` for a server never
    seen."""
    message, federated = identified.message, not identified.caller.inbound.server
    if message.method == "resources/subscribe":
        _in_session(identified)
    server = _server(identified)
    if server.catalog is None:
        if server.reason == LOGIN_NEEDED:
            raise LoginNeeded(server.entry.name, detail="nobody has logged in there")
        detail = f"{server.entry.name}: {server.reason}"
        raise UpstreamFault.unavailable(detail, effect=Effect.NONE, retry_after=5)
    item, arguments, uri = _FIND[message.method](server.catalog, message.params, federated)
    if item is None:
        raise unknown(identified)
    return Routed(identified=identified, server=server, item=item, arguments=arguments, uri=uri)


def _in_session(identified: Identified) -> None:
    """Raise `Rejected` for a subscription without a session in which its updates could be heard."""
    if not identified.client.session:
        text = "A subscription needs a session: send `initialize` first."
        raise Rejected(400, -32600, "initialize_first", text, stage=Stage.RESOLVE)


def unknown(identified: Identified, reason: str = "") -> Rejected:
    """One answer for what does not exist and for what the caller may not know of."""
    method, params = identified.message.method, identified.message.params
    completed, read = method == "completion/complete", method.startswith("resources/")
    located = read or (completed and params["ref"]["type"] == "ref/resource")
    named = named_by(params) if completed else params["uri" if located else "name"]
    word = "resource" if located else "tool" if method == "tools/call" else "prompt"
    legacy_read = read and not identified.client.modern
    return Rejected(
        200,
        results.RESOURCE_NOT_FOUND if legacy_read else results.INVALID_PARAMS,
        reason or _UNKNOWN[word],
        f"Unknown {word}: {named[:MAX_SHOWN]}",
        stage=Stage.RESOLVE,
        data={"uri": named[:MAX_URI]} if located else None,
    )


def item_for_uri(catalog: Catalog, uri: str) -> Item | None:
    """What a server's own URI names: a resource of its list, or the narrowest of its templates that it can
    be expanded from."""
    listed = catalog.resources.get(uri)
    if listed is not None:
        return listed
    found = [item for item in catalog.templates.values() if item.matches is not None and item.matches(uri)]
    return max(found, key=lambda item: uris.narrowness(item.own), default=None)


def _server(identified: Identified) -> RegisteredServer:
    """The server that the request names, as far as the caller's tenant can see it."""
    caller, message = identified.caller, identified.message
    server_id = caller.inbound.server or server_named(message.method, message.params)
    server = echo.server_for(caller.principal, caller.snapshot, server_id)
    if server is None:
        raise unknown(identified)
    if server.entry.tenant and server.entry.tenant != caller.principal.tenant:
        raise unknown(identified, "cross_tenant_attempt")
    return server


def _tool(catalog: Catalog, params: dict[str, Any], federated: bool) -> Found:
    known = catalog.by_alias if federated else catalog.tools
    return known.get(params["name"]), params.get("arguments", {}), ""


def _prompt(catalog: Catalog, params: dict[str, Any], federated: bool) -> Found:
    known = catalog.prompts_by_alias if federated else catalog.prompts
    return known.get(params["name"]), params.get("arguments", {}), ""


def _resource(catalog: Catalog, params: dict[str, Any], federated: bool) -> Found:
    uri = uris.split(params["uri"])[1] if federated else params["uri"]
    return item_for_uri(catalog, uri), {"uri": uri}, uri


def _completed(catalog: Catalog, params: dict[str, Any], federated: bool) -> Found:
    """What a completion is for: a prompt, or a template or a resource."""
    arguments = {key: params[key] for key in ("argument", "context") if key in params}
    if params["ref"]["type"] == "ref/prompt":
        return _prompt(catalog, params["ref"], federated)[0], arguments, ""
    own = uris.split(params["ref"]["uri"])[1] if federated else params["ref"]["uri"]
    return catalog.templates.get(own) or item_for_uri(catalog, own), arguments, own


_FIND: Mapping[str, Callable[[Catalog, dict[str, Any], bool], Found]] = {
    "tools/call": _tool,
    "prompts/get": _prompt,
    "resources/read": _resource,
    "resources/subscribe": _resource,
    "completion/complete": _completed,
}


def require_route(caller: Authenticated) -> None:
    """Refuse `/mcp/{server}` where the caller's tenant has no such server, in the words of a wrong method
    (F-4)."""
    only = caller.inbound.server
    if not only:
        return
    server = echo.server_for(caller.principal, caller.snapshot, only)
    if server is not None and server.entry.tenant in ("", caller.principal.tenant):
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
