"""Conversations with authorization servers, and with a server about them: guarded, bounded, not believed.

What the configuration writes may be reached where it is; whatever a document names goes through the guard
(G-1), follows no redirect, and costs five seconds at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from airlock.core.errors import Effect, LinkRefused, UpstreamFault
from airlock.upstream import guard, oauth_client, oauth_discovery, oauth_tokens
from airlock.upstream.fetch import Fetch, Fetched
from airlock.upstream.grantor import Grantor
from airlock.upstream.oauth_discovery import AuthorizationServer, Challenge, Resource
from airlock.upstream.oauth_tokens import Identity, Tokens
from airlock.upstream.pool import Resolve, resolve

if TYPE_CHECKING:
    from airlock.core.clock import Clock

WAYS = 64
"""Ways that are kept: each has authorities to trust, which take long to read."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_QUESTION = msgspec.json.encode({"jsonrpc": "2.0", "id": 0, "method": "tools/list", "params": {}})
_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


class Authorities:
    """See the module. `LinkRefused` says what a server or its authorization server did wrong."""

    def __init__(self, *, public_url: str, clock: Clock, resolve: Resolve = resolve) -> None:
        self._public_url = public_url
        self._clock = clock
        self._resolve = resolve
        self._ways: dict[tuple[frozenset[guard.Origin], str | None], Fetch] = {}

    async def challenge(self, grantor: Grantor) -> Challenge:
        """What the server says to somebody without a token."""
        try:
            found = await self._fetch(grantor, grantor.url).send(grantor.url, _QUESTION, _JSON)
        except UpstreamFault as fault:
            raise _failed("the server", fault) from fault
        return oauth_discovery.read_challenge(found.challenge) if found.status == 401 else Challenge()

    async def resource(self, grantor: Grantor, challenge: Challenge) -> Resource:
        """What the server publishes about itself."""
        for url in oauth_discovery.resource_locations(grantor.url, challenge):
            found = await self._document(grantor, url)
            if found.status == 200:
                return oauth_discovery.read_resource(found.body, grantor.url)
        raise _nothing("the server")

    async def authority(self, grantor: Grantor, found: Resource) -> AuthorizationServer:
        """The authorization server that vouches for it."""
        issuer = oauth_discovery.chosen(found, grantor.issuers)
        for url in oauth_discovery.issuer_locations(issuer):
            document = await self._document(grantor, url)
            if document.status == 200:
                return oauth_discovery.read_server(document.body, issuer)
        raise _nothing("the authorization server")

    def known(self, grantor: Grantor, authority: AuthorizationServer) -> Identity | None:
        """As whom we come without a registration: agreed on before, or by our own document (A-9)."""
        if grantor.client_id:
            return oauth_client.identity(grantor.client_id, grantor.secret.value, "", authority)
        document = grantor.client_metadata_url or self._public_url + oauth_client.DOCUMENT
        if authority.client_id_metadata_document_supported and document.startswith("https:"):
            return oauth_client.identity(document, "", "none", authority)
        return None

    async def register(self, grantor: Grantor, authority: AuthorizationServer) -> Identity:
        """As whom we come from here on, where the operator allows to ask for that."""
        allowed = "*" in grantor.register or authority.issuer in grantor.register
        if not allowed or not authority.registration_endpoint:
            text = "The gateway is not known to the authorization server."
            raise LinkRefused("link_client_missing", text, detail=f"issuer {authority.issuer!r}")
        body = oauth_client.registration(self._public_url, authority)
        url = authority.registration_endpoint
        try:
            found = await self._fetch(grantor, url).send(url, body, _JSON)
        except UpstreamFault as fault:
            raise _failed("the authorization server", fault) from fault
        return oauth_client.registered(found.status, found.body, authority)

    async def tokens(
        self,
        grantor: Grantor,
        authority: AuthorizationServer,
        client: Identity,
        form: Mapping[str, str],
        asked: tuple[str, ...],
    ) -> Tokens:
        """What a code, a refresh token or the gateway's own word brings. Raises `UpstreamFault` where nobody
        answered."""
        now = self._clock.wall()
        fields, headers = oauth_tokens.proof(client, authority.issuer, grantor.key, now)
        url = authority.token_endpoint
        found = await self._fetch(grantor, url).post(url, {**form, **fields}, headers)
        if found.status >= 500:
            raise UpstreamFault.unavailable(f"token endpoint: HTTP {found.status}", effect=Effect.NONE)
        return oauth_tokens.read_tokens(found.status, found.body, asked, now)

    async def _document(self, grantor: Grantor, url: str) -> Fetched:
        try:
            return await self._fetch(grantor, url).get(url, follow=False)
        except UpstreamFault as fault:
            raise _failed("metadata", fault) from fault

    def _fetch(self, grantor: Grantor, url: str) -> Fetch:
        """A way to an address, on which only what the configuration writes may be private."""
        origins = {_origin(written) for written in (grantor.url, *grantor.issuers)}
        origin = _origin(url)
        if grantor.allow_private and origin is not None and origin.host in _LOOPBACK:
            origins.add(origin)
        how = frozenset(each for each in origins if each is not None), grantor.ca_file
        if how not in self._ways:
            if len(self._ways) >= WAYS:
                self._ways.clear()
            allowed, ca_file = how
            self._ways[how] = Fetch(
                clock=self._clock, allowed=allowed, ca_file=ca_file, resolve=self._resolve
            )
        return self._ways[how]


def _origin(url: str) -> guard.Origin | None:
    try:
        return guard.endpoint(url).origin
    except ValueError:
        return None


def _failed(what: str, fault: UpstreamFault) -> LinkRefused:
    reason = "ssrf_guard" if isinstance(fault, guard.Forbidden) else "link_discovery_failed"
    return LinkRefused(reason, "The login there cannot be prepared.", detail=f"{what}: {fault.detail}")


def _nothing(what: str) -> LinkRefused:
    text = "The login there cannot be prepared."
    return LinkRefused("link_discovery_failed", text, detail=f"{what} publishes no metadata")
