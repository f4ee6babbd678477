"""Refusals for going over a limit: a row each, until somebody makes so many that the log would suffer.

From the 101st of one caller and reason within a second on they are counted, and one row says how many there
were when the window ends (10 s) or the worker drains. No refusal is lost, and the counts are exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import AuditFault
from airlock.model.entry import Event, Receipt

ROWS = 100
"""Rows a second of one caller and reason."""

WINDOW = 10.0
"""Seconds of one count."""

MAX_CALLERS = 4096
"""Callers and reasons looked at together; beyond, every refusal has its own row, as slow as that may be."""


class Log(Protocol):
    async def seal(self, event: Event) -> Receipt: ...


class Flood(msgspec.Struct, kw_only=True):
    """What one caller did in this second, and what was counted in this window."""

    second: int
    rows: int = 0
    until: float = 0.0
    count: int = 0
    event: Event | None = None
    """The row to be: that of the first refusal that is counted in it."""


class Floods:
    """Holds the windows of one worker. Used on the event loop only."""

    def __init__(self, *, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._open: dict[str, Flood] = {}

    async def refused(self, key: str, event: Callable[[], Event]) -> None:
        """Record one refusal of this caller and reason: durable at once, or counted."""
        now = self._clock.monotonic()
        flood = self._flood(key, int(now))
        if flood is None or (flood.rows < ROWS and not flood.count):
            if flood is not None:
                flood.rows += 1
            await self._log.seal(event())
            return
        if not flood.count:
            flood.event, flood.until = event(), now + WINDOW
        flood.count += 1

    async def close_windows(self, *, everything: bool = False) -> None:
        """Seal the counts whose window has ended (or all, when draining), and forget who is quiet."""
        now = self._clock.monotonic()
        for key, flood in list(self._open.items()):
            if flood.event is not None and (everything or flood.until <= now):
                await self._seal(flood)
            if not flood.count and flood.second < int(now):
                self._open.pop(key, None)

    async def run(self) -> None:
        """Close windows as they end, and all of them when cancelled."""
        try:
            while True:
                await asyncio.sleep(1.0)
                await self.close_windows()
        finally:
            await self.close_windows(everything=True)

    def _flood(self, key: str, second: int) -> Flood | None:
        flood = self._open.get(key)
        if flood is None:
            if len(self._open) >= MAX_CALLERS:
                return None
            flood = self._open[key] = Flood(second=second)
        elif flood.second != second:
            flood.second, flood.rows = second, 0
        return flood

    async def _seal(self, flood: Flood) -> None:
        event, count = flood.event, flood.count
        if event is None:
            return
        flood.event, flood.count = None, 0
        try:
            counted = {**event.metadata, "count": count}
            await self._log.seal(msgspec.structs.replace(event, metadata=counted))
        except AuditFault:  # what could not be written counts in the next row
            flood.event, flood.count = event, flood.count + count
