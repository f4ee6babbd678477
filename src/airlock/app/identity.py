"""The identity providers of one worker: followed in the background, their keys swapped into the snapshot.

Requests never ask a provider. A token that names an unknown key wakes the follower of its issuer, and that
one request waits a moment for what comes back; everybody else goes on with the keys that are here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from airlock.app.provider import Follower, Get, Record
from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.core.config import Config, IssuerEntry
from airlock.identity import keyring, oidc
from airlock.identity.refusals import Reason
from airlock.identity.shelf import Shelf
from airlock.identity.tokens import Issuer
from airlock.model.health import State
from airlock.model.snapshot import Current, Keys
from airlock.upstream import guard
from airlock.upstream.fetch import Fetch

WAIT = 6.0
"""Seconds that a request waits for keys that its token names and nobody here knows: a look that is due within
a second, and what it may take."""

WAITING = 256
"""Requests that wait at a time: whoever makes keys up must not fill the memory."""

FIRST = 5.0
"""Seconds that a starting worker waits for the first answer of its providers."""

FOLDER = "keys/issuers"


class Providers:
    """All of them. `current` is where their keys go; `record` makes a row durable."""

    def __init__(
        self,
        *,
        config: Config,
        current: Current,
        record: Record,
        clock: Clock,
        log: FilteringBoundLogger,
        fetches: Callable[[IssuerEntry], Get] | None = None,
    ) -> None:
        """`fetches` gives the way to one provider; None: over the network, behind the guard."""
        self.issuers: Sequence[Issuer] = [
            oidc.trust(entry, config.server.public_url) for entry in config.auth.issuers
        ]
        metrics.from_zero(reasons=Reason)
        self._current = current
        self._clock = clock
        self._waiting = 0
        self._pulse = asyncio.Event()
        shelf = Shelf(Path(config.data_dir) / FOLDER)
        self._followers = {
            entry.issuer: Follower(
                entry=entry,
                get=fetches(entry) if fetches else fetch(entry, clock).get,
                shelf=shelf,
                publish=self._publish,
                record=record,
                clock=clock,
                log=log,
            )
            for entry in config.auth.issuers
        }
        for follower in self._followers.values():
            self._publish(follower)

    async def run(self) -> None:
        """Follow every provider, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for follower in self._followers.values():
                group.create_task(follower.run())

    async def first(self) -> None:
        """Wait until every provider was asked once or has keys, `FIRST` seconds at most."""
        waiting = [each for each in self._followers.values() if not each.ring.keys]
        await self._until(lambda: all(each.finished for each in waiting), FIRST)

    def unknown_key(self, issuer: str) -> None:
        """A token of this issuer names a key that is not here."""
        follower = self._followers.get(issuer)
        if follower is not None:
            follower.want()

    async def renew(self) -> bool:
        """Wait for the look that an unknown key has caused; whether any keys changed meanwhile."""
        needed = {each: each.started + 1 for each in self._followers.values() if each.wanted}
        if not needed or self._waiting >= WAITING:
            return False
        before = self._current.get().keys
        self._waiting += 1
        try:
            await self._until(lambda: all(each.finished >= n for each, n in needed.items()), WAIT)
        finally:
            self._waiting -= 1
        return self._current.get().keys is not before

    def state(self) -> tuple[State, str]:
        """The component `auth`."""
        others = bool(self._current.get().keys.issuers.keys() - self._followers.keys())
        rings = [follower.ring for follower in self._followers.values()]
        return keyring.judge(rings, self._clock.monotonic(), others=others)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition that a look may make true; after `seconds` it is left at that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._pulse.wait()

    def _publish(self, follower: Follower) -> None:
        """Put the keys that count into the snapshot, if they are others than before; wake who waits."""
        ring = follower.ring
        keys = self._current.get().keys
        counting = keyring.serving(ring, self._clock.monotonic())
        if counting != keys.issuers.get(ring.issuer, {}):
            everyone = {**keys.issuers, ring.issuer: counting}
            self._current.swap(keys=Keys(issuers=everyone, version=keys.version + 1))
        fetched = [each.fetched_at for each in self._followers.values()] if self._followers else []
        metrics.jwks_refreshed(min(fetched, default=0.0))
        self._pulse.set()
        self._pulse = asyncio.Event()


def fetch(entry: IssuerEntry, clock: Clock) -> Fetch:
    """The way to one provider. Only where the configuration says so may it be private, and only there."""
    allowed = [entry.issuer, *([entry.jwks_url] if entry.jwks_url else [])] if entry.allow_private else []
    origins = [guard.endpoint(url).origin for url in allowed]
    return Fetch(clock=clock, allowed=origins, ca_file=entry.ca_file)
