"""When a stdio server that ended is started again: a rule over an injected clock, no I/O.

The pause doubles with every exit and is forgotten after a healthy minute. A server that ends too often is
given up for a while, so that a broken installation costs one start every five minutes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.core.clock import Clock


class Restarts(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers, seconds except where said."""

    first: float = 0.5
    most: float = 60.0
    jitter: float = 0.2
    """Share of the pause by which it varies, so that servers that died together do not start together."""
    healthy: float = 60.0
    """Life after which the pause starts over."""
    exits: int = 5
    window: float = 300.0
    """That many exits within that time give the server up."""
    retry: float = 300.0


class Pause(msgspec.Struct, frozen=True):
    """What to do after an exit."""

    seconds: float
    failed: bool


class RestartRule:
    """Told of every exit; says how long to wait."""

    def __init__(self, *, numbers: Restarts, clock: Clock, random: Callable[[], float]) -> None:
        self._numbers = numbers
        self._clock = clock
        self._random = random
        self._pause = numbers.first
        self._exits: deque[float] = deque(maxlen=numbers.exits)

    def ended(self, *, lived: float) -> Pause:
        """The server ended after `lived` seconds."""
        numbers = self._numbers
        now = self._clock.monotonic()
        self._exits.append(now)
        if lived >= numbers.healthy:
            self._pause = numbers.first
        if len(self._exits) == numbers.exits and now - self._exits[0] <= numbers.window:
            return Pause(numbers.retry, failed=True)
        seconds = self._pause * (1 + numbers.jitter * (2 * self._random() - 1))
        self._pause = min(self._pause * 2, numbers.most)
        return Pause(seconds, failed=False)
