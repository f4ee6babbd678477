"""Logins of people at upstream servers: begun, finished, ended.

Nothing is believed that was not checked: see `oauth_discovery` and `oauth_client`. What a login brings is
durable in the vault before it is used, and every process hears of it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from airlock.core.errors import LinkRefused
from airlock.model.link import Link, Who
from airlock.model.principal import one_person
from airlock.store.vault import Kept, Place, Vault
from airlock.upstream import oauth_client, oauth_tokens
from airlock.upstream.authorities import Authorities
from airlock.upstream.entries import Entry, entry_of
from airlock.upstream.grantor import Grantor
from airlock.upstream.holding import Holder, Told
from airlock.upstream.oauth_client import Trip
from airlock.upstream.oauth_discovery import AuthorizationServer
from airlock.upstream.oauth_tokens import Identity

if TYPE_CHECKING:
    from airlock.core.clock import Clock

_trip = msgspec.json.Decoder(Trip).decode


class Links:
    """See the module. One event loop."""

    def __init__(
        self,
        *,
        vault: Vault,
        authorities: Authorities,
        holder: Holder,
        public_url: str,
        told: Told,
        clock: Clock,
    ) -> None:
        """`told` records what happens to credentials."""
        self._vault = vault
        self._authorities = authorities
        self._holder = holder
        self._public_url = public_url
        self._told = told
        self._clock = clock

    def serves(self, server: str) -> bool:
        """Whether people log in at this server."""
        grantor = self._holder.grantors.get(server)
        return grantor is not None and not grantor.own

    async def begin(self, *, server: str, who: Who, browser: str) -> str:
        """Where to send a person who wants to log in: an address of the authorization server.

        1 what the server says to strangers, and who vouches for it
        2 as whom the gateway comes, and what it asks for
        3 a `state` that counts once

        `browser` is what this browser, and no other, will show again. Raises `LinkRefused`, `Fault`.
        """
        grantor = self._holder.grantors.get(server)
        if grantor is None or grantor.own or (grantor.tenant and grantor.tenant != who.tenant):
            raise LinkRefused("link_server_unknown", "There is no such server to log in at.")
        try:
            trip = await self._prepared(grantor, who, browser)
        except LinkRefused as refused:
            await self._told("refused", server, who.tenant, who.subject, refused.reason)
            raise
        state, now = secrets.token_urlsafe(32), self._clock.wall()
        await asyncio.to_thread(
            self._vault.depart,
            oauth_client.digest(state),
            tenant=who.tenant,
            payload=msgspec.json.encode(trip),
            until=trip.until,
            now=now,
        )
        return oauth_client.departure(trip, state, self._public_url)

    async def finish(self, given: Mapping[str, str], *, browser: str) -> Link:
        """Take what a person came back with, and keep what it brings. Raises `LinkRefused`, `Fault`."""
        now = self._clock.wall()
        id = oauth_client.digest(given.get("state", ""))
        payload = await asyncio.to_thread(self._vault.arrive, id, now)
        if payload is None:
            raise oauth_client.unknown_state()
        trip = _trip(payload)
        try:
            code = oauth_client.arrived(trip, given, browser, now)
            grantor = self._holder.grantors.get(trip.server)
            if grantor is None:
                raise oauth_client.unknown_state()
            form = oauth_client.code_form(trip, code, self._public_url)
            tokens = await self._authorities.tokens(grantor, trip.authority, trip.client, form, trip.scopes)
        except LinkRefused as refused:
            await self._told("refused", trip.server, trip.who.tenant, trip.who.subject, refused.reason)
            if oauth_tokens.unknown_client(refused):
                await asyncio.to_thread(
                    self._vault.drop_client, **self._place(trip.who.tenant, trip.authority)
                )
            raise
        entry = Entry(
            authority=trip.authority,
            client=trip.client,
            resource=trip.resource,
            asked=trip.scopes,
            tokens=tokens,
        )
        return await self._keep(trip.server, trip.who, entry)

    async def forget(self, *, who: Who, server: str = "") -> int:
        """Delete a person's credentials, at one server or all; how many there were. Raises `Fault`."""
        count = await asyncio.to_thread(self._vault.forget, owner=who.owner, server=server)
        self._holder.drop(who.owner, server)
        if count:
            await self._told("forgotten", server, who.tenant, who.subject, "")
        return count

    async def forget_subject(self, subject: str) -> int:
        """Delete the credentials of everybody who may be the person that is named, as `issuer|subject` or the
        latter alone; how many there were. Raises `Fault`."""
        found = await asyncio.to_thread(self._vault.forget_subject, lambda known: one_person(known, subject))
        self._holder.forget()
        if found:
            await self._told("forgotten", "", "", subject, "")
        return found

    async def status(self, who: Who) -> tuple[Link, ...]:
        """A person's logins. Raises `Fault`."""
        kept = await asyncio.to_thread(self._vault.of, who.owner)
        return tuple(_link(each, entry_of(each) if each.payload is not None else None) for each in kept)

    async def _keep(self, server: str, who: Who, entry: Entry) -> Link:
        issuer = entry.authority.issuer
        place = Place(tenant=who.tenant, issuer=issuer, server=server, owner=who.owner)
        await self._told("linked", server, who.tenant, who.subject, "")
        payload, now = msgspec.json.encode(entry), self._clock.wall()
        kept = await asyncio.to_thread(self._vault.link, place, who.subject, payload, now)
        self._holder.drop(who.owner, server)
        self._holder.news(server)
        return _link(kept, entry)

    async def _prepared(self, grantor: Grantor, who: Who, browser: str) -> Trip:
        challenge = await self._authorities.challenge(grantor)  # 1
        resource = await self._authorities.resource(grantor, challenge)
        authority = await self._authorities.authority(grantor, resource)
        oauth_client.check_authority(authority)
        client = await self._client(grantor, who.tenant, authority)  # 2
        kept = await asyncio.to_thread(self._vault.find, server=grantor.server, owner=who.owner)
        before = entry_of(kept) if kept is not None and kept.payload is not None else None
        here = before is not None and before.authority.issuer == authority.issuer
        scopes = oauth_client.wanted_scopes(
            challenged=challenge.scopes + (before.wanted if before is not None else ()),
            granted=before.asked if before is not None and here else (),
            supported=resource.scopes_supported,
            configured=grantor.scopes,
            authority=authority,
        )
        return oauth_client.new_trip(
            server=grantor.server,
            who=who,
            authority=authority,
            client=client,
            resource=resource.resource,
            scopes=scopes,
            browser=browser,
            now=self._clock.wall(),
        )

    def _place(self, tenant: str, authority: AuthorizationServer) -> dict[str, str]:
        """Where the vault has our registration at an authorization server."""
        callback = self._public_url + oauth_client.CALLBACK
        return {"tenant": tenant, "issuer": authority.issuer, "callback": callback}

    async def _client(self, grantor: Grantor, tenant: str, authority: AuthorizationServer) -> Identity:
        client = self._authorities.known(grantor, authority)
        if client is not None:
            return client
        place = self._place(tenant, authority)
        payload = await asyncio.to_thread(self._vault.client, **place)
        if payload is not None:
            return msgspec.json.decode(payload, type=Identity)
        client = await self._authorities.register(grantor, authority)
        await asyncio.to_thread(self._vault.keep_client, **place, payload=msgspec.json.encode(client))
        return client


def _link(kept: Kept, entry: Entry | None) -> Link:
    """The login of an entry; one that nobody can read is none."""
    tokens = entry.tokens if entry is not None else None
    asked = entry.asked if entry is not None else ()
    return Link(
        server=kept.place.server,
        issuer=kept.place.issuer,
        scopes=tokens.scopes if tokens is not None else asked,
        connected=tokens is not None,
        updated_at=kept.updated_at,
    )
