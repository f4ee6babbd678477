"""One server's admission: at most 64 calls at a time, 128 waiting, none at all while it keeps failing.

`Breaker` is the rule (pure state over an injected clock), `Gate` is the rule with its queue on an event
loop. Every server has its own, so a slow one fills only its own queue. Waiting and refused calls have
had no effect at the server. Exactly one call probes a server that was given up.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING

from airlock.core.errors import Effect, UpstreamFault

if TYPE_CHECKING:
    from airlock.core.clock import Clock

CONCURRENT = 64
"""Calls at one server at a time."""
QUEUE = 128
"""Calls that wait for one of them to end; one more is refused at once."""
CONSECUTIVE = 5
"""Failures in a row that open the breaker."""
WINDOW = 10
"""Seconds over which the share of failures is taken."""
WINDOW_CALLS = 20
"""Fewest calls in the window that make a share meaningful."""
WINDOW_SHARE = 0.5
"""Share of failures that opens the breaker."""
OPEN_FIRST = 5.0
OPEN_MOST = 60.0
"""Seconds that it stays open: at first, and at most after doubling."""


class BreakerState(StrEnum):
    """The words that `/ready` and the metrics use."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """The rule. `admit` returns a permit that is given back with the outcome; late outcomes count no more."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._epoch = 0
        self._probing = False
        self._open_until = 0.0
        self._open_for = 0.0
        self._in_a_row = 0
        self._window: deque[list[int]] = deque(maxlen=WINDOW)
        """[second, calls, failures], oldest first."""

    @property
    def state(self) -> BreakerState:
        if not self._open_for:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock.monotonic() < self._open_until else BreakerState.HALF_OPEN

    def check(self) -> None:
        """Raise `UpstreamFault` (no effect) where `admit` would refuse, without taking the probe."""
        if not self._open_for:
            return
        left = self._open_until - self._clock.monotonic()
        if left > 0 or self._probing:
            raise UpstreamFault.unavailable(
                "given up for now after repeated failures",
                effect=Effect.NONE,
                retry_after=max(1, math.ceil(left)),
            )

    def admit(self) -> int:
        """A permit for one call, to be handed to exactly one of `succeeded`, `failed` and `abandoned`."""
        if self._open_for:
            self.check()
            self._probing = True
        return self._epoch

    def succeeded(self, permit: int) -> None:
        if permit != self._epoch:
            return
        self._in_a_row = 0
        if self._open_for:
            self._close()
        else:
            self._count(failed=0)

    def failed(self, permit: int) -> None:
        if permit != self._epoch:
            return
        if self._open_for:
            self._open()
            return
        self._in_a_row += 1
        calls, failures = self._count(failed=1)
        if self._in_a_row >= CONSECUTIVE or (calls >= WINDOW_CALLS and failures >= WINDOW_SHARE * calls):
            self._open()

    def abandoned(self, permit: int) -> None:
        """The call ended without saying anything about the server: a caller went away."""
        if permit == self._epoch:
            self._probing = False

    def _open(self) -> None:
        self._epoch += 1
        self._probing = False
        self._open_for = min(self._open_for * 2 or OPEN_FIRST, OPEN_MOST)
        self._open_until = self._clock.monotonic() + self._open_for

    def _close(self) -> None:
        self._epoch += 1
        self._probing = False
        self._open_for = 0.0
        self._window.clear()

    def _count(self, *, failed: int) -> tuple[int, int]:
        """Add one call to the window; calls and failures within it."""
        second = int(self._clock.monotonic())
        window = self._window
        if not window or window[-1][0] != second:
            window.append([second, 0, 0])
            while window[0][0] <= second - WINDOW:
                window.popleft()
        last = window[-1]
        last[1] += 1
        last[2] += failed
        if not failed:
            return 0, 0
        return sum(slot[1] for slot in window), sum(slot[2] for slot in window)


class Gate:
    """A breaker and the queue in front of it. One event loop; `enter` is fair and can be cancelled."""

    def __init__(self, *, clock: Clock, concurrent: int = CONCURRENT, queue: int = QUEUE) -> None:
        self.breaker = Breaker(clock=clock)
        self._clock = clock
        self._free = concurrent
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def enter_now(self) -> int | None:
        """A permit as `enter` gives it, or None where it would wait. Raises `UpstreamFault`: breaker open."""
        if self._waiting or not self._free:
            return None
        permit = self.breaker.admit()
        self._free -= 1
        return permit

    async def enter(self, deadline: float) -> int:
        """Wait for a place until `deadline` (monotonic); a permit, to be given to `leave` exactly once.

        Raises `UpstreamFault` without effect: breaker open, queue full, or no place in time.
        """
        permit = self.enter_now()
        if permit is not None:
            return permit
        self.breaker.check()
        await self._wait(deadline)
        try:
            return self.breaker.admit()
        except UpstreamFault:
            self._release()
            raise

    def leave(self, permit: int, *, failed: bool | None) -> None:
        """Give the place back. `failed` is None when the caller went away before the server said anything."""
        if failed is None:
            self.breaker.abandoned(permit)
        elif failed:
            self.breaker.failed(permit)
        else:
            self.breaker.succeeded(permit)
        self._release()

    async def _wait(self, deadline: float) -> None:
        if len(self._waiting) >= self._queue:
            raise UpstreamFault.unavailable("its queue is full", effect=Effect.NONE, retry_after=1)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                await place
        except TimeoutError as error:
            self._withdraw(place)
            raise UpstreamFault.timeout("no free place before the deadline", effect=Effect.NONE) from error
        except asyncio.CancelledError:
            self._withdraw(place)
            raise

    def _withdraw(self, place: asyncio.Future[None]) -> None:
        """A waiter leaves. If its place was granted in the same turn, the next one gets it."""
        if place.done() and not place.cancelled():
            self._release()
        elif place in self._waiting:
            self._waiting.remove(place)

    def _release(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
