"""Logins at upstream servers, wired: the vault, the authorization servers, and the record of both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.sealed import Sealer
from airlock.model.entry import Event, Personal
from airlock.store.database import Store
from airlock.store.vault import Vault
from airlock.upstream.authorities import Authorities
from airlock.upstream.holding import Holder
from airlock.upstream.linking import Links

Seal = Callable[[Event], Awaitable[object]]


class Linking(msgspec.Struct, frozen=True, kw_only=True):
    """The logins at upstream servers of one worker."""

    links: Links
    holder: Holder


def wire(
    *,
    config: Config,
    sealer: Sealer,
    store: Store,
    seal: Seal,
    news: Callable[[str], None],
    clock: Clock,
) -> Linking:
    """`news` hears of servers at which somebody logged in."""
    public_url = config.server.public_url
    vault = Vault(store=store, sealer=sealer)
    authorities = Authorities(public_url=public_url, clock=clock)

    async def told(what: str, server: str, tenant: str, subject: str, reason: str) -> None:
        await seal(event(what, server=server, tenant=tenant, subject=subject, reason=reason))

    holder = Holder(vault=vault, authorities=authorities, news=news, told=told, clock=clock)
    links = Links(
        vault=vault,
        authorities=authorities,
        holder=holder,
        public_url=public_url,
        told=told,
        clock=clock,
    )
    return Linking(links=links, holder=holder)


def event(what: str, *, server: str, tenant: str, subject: str, reason: str) -> Event:
    """The row of what happened to a credential; where the guard refused an address, that of a discovery."""
    issuer, _, name = subject.partition("|")
    guarded = reason == "ssrf_guard"
    return Event(
        event_type="auth",
        action="discovery" if guarded else "credential",
        server_id=server,
        tenant=tenant,
        decision="deny" if what in ("refused", "spoiled") else "allow",
        reason=reason,
        severity="MEDIUM" if what == "refused" else "LOW",
        metadata={"what": what},
        personal=Personal(issuer=issuer, subject=name),
    )
