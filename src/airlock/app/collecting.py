"""The engine makes the bundles of evidence that somebody asked for."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Protocol

from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import Fault
from airlock.core.settings import environment
from airlock.model.lease import Unfit
from airlock.store import bundles
from airlock.store.database import Store

LOOK_EVERY = 1.0
"""Seconds between two looks at what was asked for."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


class Collecting:
    """The loop, and the configuration that bundles tell of."""

    def __init__(self, *, config: Config, store: Store, clock: Clock, log: Logger) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._log = log

    def take_over(self, config: Config) -> None:
        """Bundles tell of this configuration from here on."""
        self._config = config

    async def run(self) -> None:
        """For ever: what is wanted of bundles is done, one after the other. Raises `Fault` where the store
        fails."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_EVERY)

    def look(self) -> None:
        """Do what is wanted of every bundle, and say how it went. What nobody foresaw is raised last."""
        broken: list[Exception] = []
        for bundle in bundles.wanted(self._store):
            try:
                self._collect(bundle.id)
            except Fault:
                raise
            except Exception as error:  # noqa: BLE001 - others want theirs
                self._log.warning("evidence_failed", correlation_id="", bundle=bundle.id, reason=repr(error))
                broken.append(error)
        if broken:
            raise ExceptionGroup("bundles that cannot be made", broken)

    def _collect(self, id: str) -> None:
        from airlock.incident.evidence.collect import fulfil
        from airlock.incident.evidence.state import Site

        site = Site(data_dir=Path(self._config.data_dir), config=self._config, environ=environment())
        try:
            bundle = fulfil(site, self._store, id, clock=self._clock, pause=time.sleep)
        except Unfit as failed:
            self._log.warning("evidence_failed", correlation_id="", bundle=id, reason=failed.text)
            return
        self._log.info(
            "evidence_collected",
            correlation_id=bundle.incident,
            bundle=id,
            state=bundle.state,
            digest=bundle.digest,
            files=bundle.files,
        )
