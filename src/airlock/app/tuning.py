"""The configuration in force in one worker: that of the file, with what leases hold for a while.

Whoever has to follow it says so by `tell`, and is called when it changes: by a lease, by the end of one,
which nobody announces, or by a reload.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.model import overrides
from airlock.model.snapshot import Current

TakeOver = Callable[[Config], None]
"""Called on the event loop with the configuration in force; does not block."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...


class Tuning:
    """Joins configuration and leases. Used on the event loop."""

    def __init__(self, *, config: Config, current: Current, clock: Clock, log: Logger) -> None:
        self.base = config
        """Without what leases hold."""
        self._current = current
        self._clock = clock
        self._log = log
        self._values: dict[str, object] = {}
        self.config = config
        """In force now."""
        self._told: list[TakeOver] = []

    def tell(self, *take_over: TakeOver) -> None:
        """Call these at every change from here on."""
        self._told += take_over

    def reload(self, config: Config) -> None:
        """Another configuration came; everybody is told."""
        self.base, self._values = config, self._found(config)
        self._settle()

    def follow(self) -> None:
        """Look at the leases and the clock, and tell everybody what changed. Called at least once a
        second."""
        values = self._found(self.base)
        if values == self._values:
            return
        before, self._values = self._values, values
        for key in sorted(before.keys() | values.keys()):
            if before.get(key) != values.get(key):
                value = values.get(key, overrides.value_of(self.base, key))
                self._log.info("setting_changed", key=key, value=value, overridden=key in values)
        self._settle()

    def _found(self, config: Config) -> dict[str, object]:
        index = self._current.get().leases.index
        if index is None or not index.settings:
            return {}
        return overrides.in_force(config, index.settings, self._clock.wall())

    def _settle(self) -> None:
        self.config = overrides.over(self.base, self._values)
        for take_over in self._told:
            take_over(self.config)
