"""The engine's loop that removes from the store what is over and old, step by step."""

from __future__ import annotations

import asyncio

from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.store import tidying
from airlock.store.database import Store

EVERY = 600.0
"""Seconds between two looks."""

PAUSE = 1.0
"""Seconds between two steps where there is more to remove: others use the store meanwhile."""


class Tidying:
    """The loop."""

    def __init__(self, *, config: Config, store: Store, clock: Clock) -> None:
        self._config = config
        self._store = store
        self._clock = clock

    def take_over(self, config: Config) -> None:
        """Keep for as long as this configuration says."""
        self._config = config

    async def run(self) -> None:
        """Remove until cancelled. Raises `Fault` where the store fails."""
        while True:
            more = await asyncio.to_thread(self.step)
            await asyncio.sleep(PAUSE if more else EVERY)

    def step(self) -> bool:
        """One step; whether there may be more to remove."""
        before = self._clock.wall() - self._config.incident.keep
        removed = (
            tidying.remove_alerts(self._store, before=before),
            tidying.remove_rows(self._store, before=before),
        )
        return tidying.STEP in removed
