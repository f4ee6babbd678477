"""Room on the volume: a reserve for closing records, and the line below which nothing new begins.

The reserve is one segment, at most 5 % of the volume shared by all workers. Below 2 % free it is given back,
so that calls already under way can still be closed, and every new one is refused.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from airlock.audit.files import Space

if TYPE_CHECKING:
    from airlock.audit.files import Directory

RESERVE = "reserve"
FREE_MIN = 0.02
"""Share of the volume below which nothing new begins."""
FREE_LOW = 0.10
"""Share below which an operator should act."""
FREE_AGAIN = 0.03
"""Share that must be free beside the reserve before calls begin again: no flapping at the line."""
RESERVE_SHARE = 0.05
SEGMENT_MIN = 64 * 1024
LOOK_EVERY = 0.25
"""Seconds between two looks at the volume."""
_BLOCK = 4096


def segment_size(configured: int, total: int, workers: int) -> int:
    """The configured size, cut so that one segment per worker is at most 5 % of the volume.

    An 8 MiB volume with one worker gets 408 KiB. Never less than 64 KiB, which hold a record of any entry.
    """
    share = int(total * RESERVE_SHARE / workers) // _BLOCK * _BLOCK
    return max(SEGMENT_MIN, min(configured, share))


class Room:
    """Watches the free space of one chain's volume. Used by one thread."""

    def __init__(self, *, directory: Directory, reserve: int) -> None:
        self._directory = directory
        self._reserve = reserve
        self._looked = float("-inf")
        self.starved = False
        """True: only closing records are taken."""
        self.low = False
        """True: below 10 % free."""
        self.free: int | None = None
        """Bytes that were free at the last look; None before the first."""

    def look(self, now: float) -> None:
        """Bring `starved` and `low` up to date; `now` in monotonic seconds."""
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            space = self._directory.space()
        except OSError:
            space = Space(total=0, free=0)  # a volume that cannot say how much is free counts as full
        self.free = space.free
        self.low = space.free < space.total * FREE_LOW
        if space.free <= space.total * FREE_MIN:
            self.spend()
        elif self.starved and space.free >= space.total * FREE_AGAIN + self._reserve:
            self.hold()

    def hold(self) -> None:
        """Take the reserve. Without it the volume counts as full."""
        try:
            if RESERVE not in self._directory.names():
                self._directory.create(RESERVE, self._reserve).close()
            self.starved = False
        except OSError:
            self.spend()

    def spend(self) -> None:
        """Give the reserve to the records that close what has begun."""
        self.starved = True
        with suppress(OSError):
            self._directory.remove(RESERVE)
