"""Loosening grants in one worker: taken over from the store, counted, and told of."""

from __future__ import annotations

import asyncio

import msgspec

from airlock.core import metrics
from airlock.core.clock import Clock, rfc3339
from airlock.model.grant import LONGEST, Grants
from airlock.model.snapshot import Current
from airlock.store import grants
from airlock.store.database import Store

EVERY = 1.0
"""Seconds between two looks at the clock: a grant ends by itself."""


class Loosened:
    """The grants of one worker. Reads the store, so that the first call finds what is in force."""

    def __init__(self, *, store: Store, current: Current, clock: Clock) -> None:
        self._store = store
        self._current = current
        self._clock = clock
        self._ends: dict[str, float] = {}
        current.swap(grants=self._bounded(grants.load(store, now=clock.wall())))

    async def follow(self) -> None:
        """Take over what the store says. Raises `Fault` where it cannot be read."""
        found = await asyncio.to_thread(lambda: grants.load(self._store, now=self._clock.wall()))
        if found.epoch >= self._current.get().grants.epoch:
            self._current.swap(grants=self._bounded(found))

    def _bounded(self, found: Grants) -> Grants:
        """Those whose time is not over by the clock that never goes back, counted from when this worker heard
        of each: whoever turns the clock of the machine back lengthens nothing."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        ends = {
            grant.id: self._ends.get(grant.id, now + min(LONGEST, grant.expires_at - wall))
            for grant in found.held
        }
        self._ends |= ends
        held = tuple(grant for grant in found.held if now < ends[grant.id])
        return found if held == found.held else msgspec.structs.replace(found, held=held)

    async def run(self) -> None:
        """Say whether calls may fail open, and end what is over, until cancelled."""
        while True:
            known = self._current.get().grants
            if (left := self._bounded(known)) is not known:
                self._current.swap(grants=left)
            metrics.fail_open_active(bool(self.until()))
            await asyncio.sleep(EVERY)

    def until(self) -> str:
        """When failing open ends; empty: nothing fails open."""
        now = self._clock.wall()
        held = [grant.expires_at for grant in self._current.get().grants.held if grant.holds(now)]
        return rfc3339(max(held)) if held else ""
