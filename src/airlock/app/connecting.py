"""The doors of logins at servers, wired: pages for people, and the addresses of their own connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from structlog.typing import FilteringBoundLogger

from airlock.api import pages
from airlock.api.connect import ConnectApi, SignedIn, SignIn
from airlock.api.connections import ConnectionsApi
from airlock.api.ledger import Handler, Ledger
from airlock.app.login import FORM
from airlock.app.turned import inbound
from airlock.audit.writer import Writer
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import Fault, Refused
from airlock.core.sealed import Sealer
from airlock.edge.routes import Route
from airlock.gateway.strangers import Strangers
from airlock.gateway.tickets import CONNECT, Tickets
from airlock.identity import login
from airlock.identity.login import Login
from airlock.model.call import Authenticated, Inbound
from airlock.model.http import HttpRequest
from airlock.model.link import Link, Who
from airlock.model.principal import Principal
from airlock.model.snapshot import Current
from airlock.upstream.linking import Links
from airlock.upstream.oauth_client import CALLBACK, DOCUMENT, client_document


def person(signed_in: SignedIn, public_url: str) -> Callable[[Login, str], str]:
    """Says who signed in, as the owner of credentials that tokens of this login would have."""

    def sealed(who: Login, browser: str) -> str:
        principal = Principal(
            issuer=login.identifier(public_url),
            subject=who.subject,
            tenant=who.tenant,
            token_id="",
            expires_at=0,
        )
        return signed_in.seal(principal.key, browser)

    return sealed


class Announced:
    """Logins at servers; every other worker looks at once at what changed."""

    def __init__(self, links: Links, changed: asyncio.Event) -> None:
        self._links = links
        self._changed = changed
        self.serves = links.serves
        self.begin = links.begin
        self.status = links.status

    async def finish(self, given: Mapping[str, str], *, browser: str) -> Link:
        """Raises `LinkRefused`, `Fault`."""
        link = await self._links.finish(given, browser=browser)
        self._changed.set()
        return link

    async def forget(self, *, who: Who, server: str = "") -> int:
        """Raises `Fault`."""
        count = await self._links.forget(who=who, server=server)
        self._changed.set()
        return count

    async def forget_subject(self, subject: str) -> int:
        """Raises `Fault`."""
        count = await self._links.forget_subject(subject)
        self._changed.set()
        return count


def connections(links: Announced, tickets: Tickets, current: Current) -> ConnectionsApi:
    """The addresses of a caller's own logins."""

    def servers(tenant: str) -> tuple[str, ...]:
        known = current.get().registry.servers
        return tuple(
            name for name in sorted(known) if links.serves(name) and known[name].entry.tenant in ("", tenant)
        )

    return ConnectionsApi(links=links, tickets=tickets, servers=servers)


def doors(
    *,
    config: Config,
    links: Announced,
    tickets: Tickets,
    current: Current,
    authenticate: Callable[[Inbound], Awaitable[Authenticated]],
    permit: Callable[[Principal, str], None],
    sign_in: SignIn | None,
    signed_in: SignedIn,
    sealer: Sealer,
    strangers: Strangers,
    writer: Writer,
    clock: Clock,
    log: FilteringBoundLogger,
) -> tuple[Route, ...]:
    """The pages. `permit` raises `Refused` for a contained caller (principal, address)."""

    async def stranger(request: HttpRequest, failure: Refused | Fault) -> None:
        await strangers.refused(inbound(request), failure)

    async def identify(request: HttpRequest) -> Principal:
        caller = await authenticate(inbound(request))
        permit(caller.principal, request.source_ip)
        return caller.principal

    def issuers(server: str) -> tuple[str, ...]:
        known = current.get().registry.servers.get(server)
        credential = known.entry.credential if known is not None else None
        return credential.issuers if credential is not None else ()

    ledger = Ledger(seal=writer.seal, stranger=stranger, clock=clock, log=log)
    api = ConnectApi(
        public_url=config.server.public_url,
        links=links,
        tickets=tickets,
        identify=identify,
        issuers=issuers,
        document=client_document(config.server.public_url),
        sign_in=sign_in,
        signed_in=signed_in,
        sealer=sealer,
        ledger=ledger,
        clock=clock,
    )
    return routes(api, ledger)


def routes(api: ConnectApi, ledger: Ledger) -> tuple[Route, ...]:
    """The pages. Whatever fails on our side is a page too."""

    def page(handle: Handler) -> Handler:
        return ledger.calm(handle, lambda fault: pages.failed(503, fault.text, fault.reason))

    return (
        Route(method="GET", path=DOCUMENT, auth="none", handler=api.document),
        Route(method="GET", path=CONNECT, auth="none", handler=page(api.ask)),
        Route(method="POST", path=CONNECT, auth="none", handler=page(api.agree), max_body=FORM),
        Route(method="GET", path=CALLBACK, auth="none", handler=page(api.callback)),
    )
