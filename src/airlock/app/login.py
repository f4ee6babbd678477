"""Logins through the gateway, wired: the authorization server of its clients, and a client of the provider.

Two steps, because a token of ours has to be verified before anybody can log in: `trusted` and `pinned` first,
the doors once the other parts exist. Without `auth.login` there is nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.api import pages
from airlock.api.connect import SignIn
from airlock.api.consent import ConsentApi
from airlock.api.ledger import Handler, Ledger
from airlock.api.oauth import OAuthApi, unavailable
from airlock.app.identity import Providers, fetch
from airlock.app.turned import inbound
from airlock.audit.writer import Writer
from airlock.core.clock import Clock
from airlock.core.config import Config, IssuerEntry, LoginSection
from airlock.core.errors import Effect, Fault, Refused, UpstreamFault
from airlock.core.sealed import Sealer
from airlock.edge.routes import Route
from airlock.gateway.rates import subscriber
from airlock.gateway.strangers import Strangers
from airlock.identity import login, oidc
from airlock.identity.clients import Client
from airlock.identity.documents import Directory, unknown
from airlock.identity.login import Login, LoginIssuer
from airlock.identity.relying import RelyingParty
from airlock.identity.tokens import Issuer
from airlock.model.call import Authenticated, Inbound
from airlock.model.http import HttpRequest
from airlock.model.principal import Principal
from airlock.model.snapshot import Current, Keys
from airlock.store.database import Store
from airlock.upstream import guard
from airlock.upstream.fetch import Fetch, Fetched

FORM = 16 * 1024
"""Bytes of a form or of client metadata."""


class LoginFacade:
    """What `auth.login` asks for, for one worker."""

    def __init__(self, *, config: Config, sealer: Sealer, store: Store, clock: Clock) -> None:
        """Opens the key that signs our tokens. Raises `ConfigError`."""
        self._config = config
        self._sealer = sealer
        self._store = store
        self._clock = clock
        self._section = section = config.auth.login
        self.sign_in: SignIn | None = None
        """Lets a person sign in for a page of the gateway, once the doors exist."""
        self._issuer: LoginIssuer | None = None
        if section is not None:
            self._issuer = LoginIssuer.open(Path(config.data_dir), config.server.public_url, section.access)

    def trusted(self) -> Sequence[Issuer]:
        """Our own tokens count, where we issue any."""
        if self._section is None:
            return ()
        return (login.trust(self._config.server.public_url, self._section.access),)

    def pinned(self, keys: Keys) -> Keys:
        """The keys with ours among them."""
        if self._issuer is None:
            return keys
        return Keys(issuers={**keys.issuers, **self._issuer.keys().issuers}, version=keys.version)

    def doors(
        self,
        *,
        current: Current,
        providers: Providers,
        strangers: Strangers,
        writer: Writer,
        authenticate: Callable[[Inbound], Awaitable[Authenticated]],
        person: Callable[[Login, str], str],
        log: FilteringBoundLogger,
    ) -> tuple[Route, ...]:
        """The routes of logins. `person` says for a page of the gateway who signed in."""
        section, issuer = self._section, self._issuer
        if section is None or issuer is None:
            return ()

        async def stranger(request: HttpRequest, failure: Refused | Fault) -> None:
            await strangers.refused(inbound(request), failure)

        async def identify(request: HttpRequest, path: str) -> Principal:
            server = path.removeprefix("/mcp").removeprefix("/")
            return (await authenticate(msgspec.structs.replace(inbound(request), server=server))).principal

        ledger = Ledger(seal=writer.seal, stranger=stranger, clock=self._clock, log=log)
        consent = ConsentApi(
            issuer=issuer.identifier,
            provider=self._provider(section, issuer.identifier, current, providers),
            find=self._find(section),
            sealer=self._sealer,
            store=self._store,
            ledger=ledger,
            session=section.session,
            clock=self._clock,
            person=person,
        )
        self.sign_in = consent.sign_in
        oauth = OAuthApi(
            issuer=issuer,
            sealer=self._sealer,
            store=self._store,
            ledger=ledger,
            identify=identify,
            revoked=revoked(current, self._clock),
            registration=section.registration,
            documents=section.documents,
            schemes=section.redirect_schemes,
            clock=self._clock,
        )
        return routes(consent, oauth, ledger)

    def _provider(
        self, section: LoginSection, origin: str, current: Current, providers: Providers
    ) -> RelyingParty:
        entry = _entry(self._config, section)
        way = fetch(entry, self._clock)

        async def unknown_key() -> None:
            providers.unknown_key(entry.issuer)
            await providers.renew()

        return RelyingParty(
            issuer=oidc.trust(entry, self._config.server.public_url),
            client_id=section.client_id,
            secret=_secret(section),
            scopes=section.scopes,
            callback=f"{origin}/oauth/callback",
            get=way.get,
            post=way.post,
            keys=lambda: current.get().keys.issuers.get(entry.issuer, {}),
            unknown_key=unknown_key,
            clock=self._clock,
        )

    def _find(self, section: LoginSection) -> Callable[[str, str], Awaitable[Client]]:
        origins = section.unsafe_document_origins
        way = Fetch(clock=self._clock, allowed=[guard.endpoint(origin).origin for origin in origins])
        directory = Directory(
            sealer=self._sealer,
            get=directly(way.get) if section.documents else None,
            origins=origins,
            schemes=section.redirect_schemes,
            clock=self._clock,
        )

        async def find(client_id: str, source_ip: str) -> Client:
            return await directory.find(client_id, subscriber(source_ip))

        return find


def routes(consent: ConsentApi, oauth: OAuthApi, ledger: Ledger) -> tuple[Route, ...]:
    """The doors of logins. Whatever fails on our side is answered there, in the form of each."""

    def page(handle: Handler) -> Handler:
        return ledger.calm(handle, lambda fault: pages.failed(503, fault.text, fault.reason))

    def answer(handle: Handler) -> Handler:
        return ledger.calm(handle, unavailable)

    metadata = "/.well-known/oauth-authorization-server"
    return (
        Route(method="GET", path=metadata, auth="none", handler=oauth.metadata),
        Route(method="GET", path="/oauth/authorize", auth="none", handler=page(consent.authorize)),
        Route(
            method="POST", path="/oauth/consent", auth="none", handler=page(consent.consent), max_body=FORM
        ),
        Route(method="GET", path="/oauth/callback", auth="none", handler=page(consent.callback)),
        Route(
            method="POST", path="/oauth/register", auth="none", handler=answer(oauth.register), max_body=FORM
        ),
        Route(method="POST", path="/oauth/token", auth="none", handler=answer(oauth.token), max_body=FORM),
        Route(method="POST", path="/oauth/logout", auth="bearer", handler=answer(oauth.logout)),
    )


def _entry(config: Config, section: LoginSection) -> IssuerEntry:
    return next(entry for entry in config.auth.issuers if entry.issuer == section.issuer)


def _secret(section: LoginSection) -> str:
    if section.client_secret_file is None:
        return ""
    return Path(section.client_secret_file).read_text(encoding="ascii").strip()


def revoked(current: Current, clock: Clock) -> Callable[[str], bool]:
    """Whether a lease revokes a token of a grant: who revokes one means its login."""

    def found(grant: str) -> bool:
        index, now = current.get().leases.index, clock.wall()
        held = () if index is None else index.tokens.items()
        return any(login.grant_of(token) == grant and lease.holds(now) for token, lease in held)

    return found


def directly(get: Callable[[str], Awaitable[Fetched]]) -> Callable[[str], Coroutine[Any, Any, Fetched]]:
    """A document is at its own URL: whoever can make that URL redirect does not own it."""

    async def fetched(url: str) -> Fetched:
        try:
            found = await get(url)
        except guard.Forbidden as forbidden:
            raise unknown("ssrf_guard") from forbidden
        if found.url != url:
            raise UpstreamFault.protocol("the document redirects", effect=Effect.NONE)
        return found

    return fetched
