"""Credentials at upstream servers, as calls use them: each for its owner, and nobody else's ever (XC-4).

What is known and fresh is given without a look anywhere; the rest is read from the vault in a thread. A token
is renewed a minute before its end, by one process at a time, and what that brings is durable before it is
used (A-10). A server that refuses a token has it renewed once, or its owner log in again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import msgspec

from airlock.core.errors import Effect, LinkRefused, LoginNeeded, UpstreamFault
from airlock.store.vault import Kept, Vault
from airlock.upstream import oauth_client, oauth_tokens
from airlock.upstream.authorities import Authorities
from airlock.upstream.credentials import Credential
from airlock.upstream.entries import Entry, entry_of, fits
from airlock.upstream.grantor import Grantor
from airlock.upstream.oauth_discovery import Challenge
from airlock.upstream.oauth_tokens import Hidden, Tokens

if TYPE_CHECKING:
    from airlock.core.clock import Clock

EARLY = 60.0
"""Seconds before its end at which a token is renewed."""

MOST = 4096
"""Credentials that one worker remembers; the vault has the others."""

LOOK, LOOKS = 0.1, 100
"""Seconds between two looks at a token that another process renews, and how often."""

OWN = ""
"""Owner of what belongs to the gateway itself."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that counts, in memory."""

    credential: Credential
    grantor: Grantor
    """For whose server, as it was configured then."""
    kept: Kept | None
    """None: of the gateway itself."""
    fresh_until: float
    """Unix seconds."""


Told = Callable[[str, str, str, str, str], Awaitable[object]]
"""Records what happened to a credential: (what, server, tenant, `issuer|subject`, reason)."""


class Holder:
    """See the module. One event loop."""

    def __init__(
        self,
        *,
        vault: Vault,
        authorities: Authorities,
        news: Callable[[str], None],
        told: Told,
        clock: Clock,
    ) -> None:
        """`news` hears of servers at which somebody logged in: their lists can be read."""
        self._vault = vault
        self._authorities = authorities
        self.news = news
        self._told = told
        self._clock = clock
        self.grantors: dict[str, Grantor] = {}
        """By server; kept current by the upstreams themselves."""
        self._held: dict[tuple[str, str], Held] = {}
        self._busy: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def drop(self, owner: str, server: str = "") -> None:
        """Remember nothing of an owner, at one server or all."""
        for key in [key for key in self._held if key[1] == owner and server in ("", key[0])]:
            del self._held[key]

    def forget(self) -> None:
        """Remember nothing of anybody."""
        self._held.clear()

    async def follow(self) -> None:
        """The vault changed: what is remembered is looked up again, and the lists of servers are read."""
        self.forget()
        for server, grantor in self.grantors.items():
            if not grantor.own:
                self.news(server)

    def add(self, grantor: Grantor) -> None:
        """People, or the gateway, log in at this server from here on; what was said of it before is over."""
        self.grantors[grantor.server] = grantor

    def remove(self, grantor: Grantor) -> None:
        """Nobody logs in there any more, unless it was configured anew."""
        if self.grantors.get(grantor.server) is grantor:
            del self.grantors[grantor.server]

    async def reader(self, grantor: Grantor) -> str:
        """With whose credential the lists of a server are read: of who logged in last. Raises
        `LoginNeeded`."""
        if grantor.own:
            return OWN
        kept = await asyncio.to_thread(self._vault.latest, grantor.server)
        if kept is None:
            raise LoginNeeded(grantor.server, detail="nobody has logged in there")
        return kept.place.owner

    def known(self, grantor: Grantor, owner: str) -> Held | None:
        """A credential that is known and fresh."""
        held = self._held.get((grantor.server, owner))
        if held is None or held.grantor is not grantor or self._clock.wall() >= held.fresh_until:
            return None
        return held

    async def held(self, grantor: Grantor, owner: str) -> Held:
        """The credential of an owner at a server. Raises `LoginNeeded`, `UpstreamFault`, `Fault`."""
        key = grantor.server, owner
        lock = self._busy.setdefault(key, asyncio.Lock())
        async with lock:
            held = self.known(grantor, owner)
            if held is None:
                held = await self._found(grantor, owner)
                while len(self._held) >= MOST:
                    del self._held[next(iter(self._held))]
                self._held[key] = held
            return held

    async def rejected(self, owner: str, held: Held, *, status: int, said: Challenge, again: bool) -> bool:
        """A server refused a credential: returns where there may be another to try, and whether it was
        renewed for that. `again`: it had been. Raises `LoginNeeded`, or `UpstreamFault` where no login
        would help."""
        server = held.grantor.server
        if self._held.get((server, owner)) is held:
            del self._held[server, owner]
        if held.kept is None:
            if again:
                raise UpstreamFault.unavailable("it refuses the gateway's own token", effect=Effect.NONE)
            return True  # the next one is asked for anew
        kept = await asyncio.to_thread(self._vault.find, server=server, owner=owner)
        if kept is None or kept.revision != held.kept.revision:
            return False
        entry = entry_of(kept)
        if status == 403:
            await self._step_up(kept, entry, said)
        if again or entry.tokens is None or not entry.tokens.refresh:
            await self._spoiled(kept, entry, said.scopes)
            raise LoginNeeded(server, scopes=said.scopes, detail="it refuses the token")
        if not await asyncio.to_thread(self._vault.claim, kept, self._clock.wall()):
            await asyncio.sleep(LOOK)
            return False
        await self._renewed(held.grantor, kept, entry, entry.tokens.refresh)
        return True

    async def _found(self, grantor: Grantor, owner: str) -> Held:
        if grantor.own:
            return await self._own(grantor)
        server = grantor.server
        for _ in range(LOOKS):
            kept = await asyncio.to_thread(self._vault.find, server=server, owner=owner)
            if kept is None:
                raise LoginNeeded(server, detail="its caller has not logged in there")
            entry = entry_of(kept)
            if not fits(entry, grantor):
                raise LoginNeeded(server, detail="its token is for what the server was before")
            held = await self._usable(grantor, kept, entry)
            if held is not None:
                return held
            await asyncio.sleep(LOOK)
        raise UpstreamFault.unavailable("its token is not renewed in time", effect=Effect.NONE)

    async def _usable(self, grantor: Grantor, kept: Kept, entry: Entry) -> Held | None:
        """The credential of an entry, renewed if need be; None while somebody else renews it."""
        now = self._clock.wall()
        tokens = entry.tokens
        if tokens is None:
            raise LoginNeeded(grantor.server, scopes=entry.wanted, detail="its token counts no more")
        if now < tokens.until - EARLY:
            return _held(grantor, kept, tokens, tokens.until - EARLY)
        counts = now < tokens.until
        if not tokens.refresh:
            if counts:
                return _held(grantor, kept, tokens, tokens.until)
            raise LoginNeeded(grantor.server, scopes=entry.wanted, detail="its token is over")
        if await asyncio.to_thread(self._vault.claim, kept, now):
            try:
                return await self._renewed(grantor, kept, entry, tokens.refresh)
            except UpstreamFault as fault:
                if isinstance(fault, LoginNeeded) or not counts:
                    raise
        return _held(grantor, kept, tokens, min(now + 1.0, tokens.until)) if counts else None

    async def _renewed(self, grantor: Grantor, kept: Kept, entry: Entry, refresh: Hidden) -> Held:
        """Exchange a refresh token. What it brings is durable before anybody uses it."""
        place, form = kept.place, oauth_tokens.refresh_form(refresh, entry.resource)
        before = entry.tokens.scopes if entry.tokens is not None else entry.asked
        try:
            tokens = await self._authorities.tokens(grantor, entry.authority, entry.client, form, before)
        except LinkRefused as refused:
            await self._told("refused", place.server, place.tenant, kept.subject, refused.reason)
            if not oauth_tokens.gone(refused):
                raise UpstreamFault.unavailable(refused.detail, effect=Effect.NONE) from refused
            await self._spoiled(kept, entry, ())
            raise LoginNeeded(place.server, scopes=entry.wanted, detail="its refresh token is over") from None
        if not tokens.refresh:
            tokens = msgspec.structs.replace(tokens, refresh=refresh)
        after = await self._stored(kept, refresh, tokens)
        if after is None:
            raise LoginNeeded(place.server, detail="its login ended meanwhile")
        await self._told("renewed", place.server, place.tenant, kept.subject, "")
        return _held(grantor, after, tokens, max(tokens.until - EARLY, self._clock.wall() + 1.0))

    async def _stored(self, kept: Kept, refresh: Hidden, tokens: Tokens) -> Kept | None:
        """The entry with what its refresh token brought, whatever else was noted meanwhile. None where the
        login has ended, or is another one."""
        now: Kept | None = kept
        while now is not None:
            entry = entry_of(now)
            if entry.tokens is None or entry.tokens.refresh != refresh:
                return None
            payload = msgspec.json.encode(msgspec.structs.replace(entry, tokens=tokens))
            after = await asyncio.to_thread(self._vault.amend, now, payload, self._clock.wall())
            if after is not None:
                return after
            place = now.place
            now = await asyncio.to_thread(self._vault.find, server=place.server, owner=place.owner)
        return None

    async def _own(self, grantor: Grantor) -> Held:
        """A token of the gateway itself: asked for when it is needed, kept in memory only."""
        try:
            challenge = await self._authorities.challenge(grantor)
            resource = await self._authorities.resource(grantor, challenge)
            authority = await self._authorities.authority(grantor, resource)
            client = oauth_client.identity(grantor.client_id, grantor.secret.value, "", authority)
            scopes = grantor.scopes or challenge.scopes
            form = oauth_tokens.own_form(resource.resource, scopes)
            tokens = await self._authorities.tokens(grantor, authority, client, form, scopes)
        except LinkRefused as refused:
            await self._told("refused", grantor.server, grantor.tenant, "", refused.reason)
            detail = f"{refused.reason}: {refused.detail}"
            raise UpstreamFault.unavailable(detail, effect=Effect.NONE) from None
        await self._told("renewed", grantor.server, grantor.tenant, "", "")
        return _held(grantor, None, tokens, max(tokens.until - EARLY, self._clock.wall() + 1.0))

    async def _step_up(self, kept: Kept, entry: Entry, said: Challenge) -> None:
        """Note what the server wants in addition; the next login asks for it. Always raises."""
        if not said.scopes or set(said.scopes) <= {*entry.asked}:
            raise UpstreamFault(
                50301,
                "upstream_scope_refused",
                "The server refuses your login, with everything that it asked for.",
                detail="403 in spite of the scopes that it wants",
                effect=Effect.NONE,
            )
        wanted = tuple(dict.fromkeys((*entry.wanted, *said.scopes)))
        if wanted != entry.wanted:
            payload = msgspec.json.encode(msgspec.structs.replace(entry, wanted=wanted))
            await asyncio.to_thread(self._vault.amend, kept, payload, self._clock.wall(), release=False)
        raise LoginNeeded(kept.place.server, scopes=said.scopes, detail="it wants more scopes")

    async def _spoiled(self, kept: Kept, entry: Entry, wanted: tuple[str, ...]) -> None:
        """The tokens of an entry count no more; as whom its owner logged in, and for what, is remembered."""
        scopes = tuple(dict.fromkeys((*entry.wanted, *wanted)))
        payload = msgspec.json.encode(msgspec.structs.replace(entry, tokens=None, wanted=scopes))
        await asyncio.to_thread(self._vault.amend, kept, payload, self._clock.wall())
        place = kept.place
        await self._told("spoiled", place.server, place.tenant, kept.subject, "")


def _held(grantor: Grantor, kept: Kept | None, tokens: Tokens, fresh_until: float) -> Held:
    credential = Credential(header="Authorization", value=f"Bearer {tokens.access.value}")
    return Held(credential=credential, grantor=grantor, kept=kept, fresh_until=fresh_until)
