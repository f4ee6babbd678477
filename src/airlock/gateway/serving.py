"""A worker's own right to serve: it holds while the worker can see what is contained.

Renewed with every successful look at the store. Without one for `LAPSE` seconds a lease may have been
missed, so sensitive tools are refused; after `DARK` seconds everything is. What tightened keeps its force.
"""

from __future__ import annotations

import asyncio

LAPSE = 5.0
"""Seconds after a look for which it counts."""

DARK = 30.0
"""Seconds after the lapse for which the rest is still served."""


class Serving:
    """Two flags, so that asking costs nothing; timers of the event loop raise them."""

    def __init__(self) -> None:
        self.lapsed = False
        self.dark = False
        self._timers: tuple[asyncio.TimerHandle, ...] = ()

    def renew(self) -> None:
        """The store was read just now. Called on the event loop."""
        self.stop()
        loop = asyncio.get_running_loop()
        self.lapsed = self.dark = False
        self._timers = (
            loop.call_later(LAPSE, self._lapse),
            loop.call_later(LAPSE + DARK, self._darken),
        )

    def stop(self) -> None:
        """Nobody counts the time any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers = ()

    def _lapse(self) -> None:
        self.lapsed = True

    def _darken(self) -> None:
        self.dark = True
