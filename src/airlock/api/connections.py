"""A caller's own logins at servers: which there are, how to get one, and the end of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from airlock.api.entries import Entry, document, invalid
from airlock.core.clock import rfc3339
from airlock.core.errors import Rejected
from airlock.gateway.tickets import Tickets
from airlock.mcp import strict
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.link import Link, Who
from airlock.model.principal import Principal

State = Literal["connected", "login_needed"]


class Links(Protocol):
    """Logins at servers. All raise `Fault`."""

    async def forget(self, *, who: Who, server: str = "") -> int: ...
    async def forget_subject(self, subject: str) -> int: ...
    async def status(self, who: Who) -> tuple[Link, ...]: ...


class Connection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A server at which people log in, as the caller stands there."""

    server: str
    state: State
    issuer: str = ""
    scopes: tuple[str, ...] = ()
    updated_at: str = ""
    connect_url: str
    """Link to log in, or to log in again; for minutes, and for the caller alone."""


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    connections: tuple[Connection, ...]


class Revoke(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    subject: str
    """Whose logins end: a subject, or `issuer|subject`."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    ended: int
    """Logins that there were."""


class ConnectionsApi:
    """The handlers. `servers` names those at which people of a tenant log in."""

    def __init__(self, *, links: Links, tickets: Tickets, servers: Callable[[str], tuple[str, ...]]) -> None:
        self._links = links
        self._tickets = tickets
        self._servers = servers

    async def read(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        """Where the caller is logged in, and where not."""
        del request
        held = {link.server: link for link in await self._links.status(Who.of(principal))}
        told = [self._told(principal, name, held.get(name)) for name in self._servers(principal.tenant)]
        return json_response(200, Connections(connections=tuple(told)))

    async def end(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        """Forget the caller's login at a server."""
        server = request.params["server"]
        if not await self._links.forget(who=Who.of(principal), server=server):
            text = "You are not logged in at such a server."
            raise Rejected(404, strict.INVALID_REQUEST, "not_found", text)
        return json_response(200, Ended(ended=1))

    async def revoke(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        """Forget the logins of a person, everywhere."""
        del principal
        subject = document(request, Revoke).subject
        if not subject.rpartition("|")[2]:
            raise invalid("invalid_params", "subject is empty: give a subject, or `issuer|subject`.")
        return json_response(200, Ended(ended=await self._links.forget_subject(subject)))

    def _told(self, principal: Principal, server: str, link: Link | None) -> Connection:
        url = self._tickets.url(principal, server)
        if link is None:
            return Connection(server=server, state="login_needed", connect_url=url)
        return Connection(
            server=server,
            state="connected" if link.connected else "login_needed",
            issuer=link.issuer,
            scopes=link.scopes,
            updated_at=rfc3339(link.updated_at),
            connect_url=url,
        )


def entries(api: ConnectionsApi) -> tuple[Entry, ...]:
    """Addresses of this part."""
    return (
        Entry(
            method="GET",
            path="/api/v1/connections",
            permission=None,
            summary="The caller's logins at servers, with a link for each.",
            handler=api.read,
            gives=Connections,
        ),
        Entry(
            method="DELETE",
            path="/api/v1/connections/{server}",
            permission=None,
            summary="End the caller's login at a server.",
            handler=api.end,
            gives=Ended,
        ),
        Entry(
            method="POST",
            path="/api/v1/connections/-/revoke",
            permission="servers.write",
            summary="End all logins of a person at servers.",
            handler=api.revoke,
            takes=Revoke,
            gives=Ended,
        ),
    )
