"""The loops of the engine, kept going: one that fails is started again, and takes no other with it.

What fails is said to the supervisor, and so to `/ready` and `airlock status`: a gateway that detects nothing,
watches no clock or sends no notice must not look as if all were well. The word comes every few seconds by way
of the threads that the loops work in, so that its absence says that those hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, cast

from airlock.core.clock import Clock

Background = Callable[[], Coroutine[Any, Any, None]]
"""Work that runs as long as the engine does."""

EVERY = 2.0
"""Seconds between two words to the supervisor."""

LEAST, MOST = 0.5, 30.0
"""Seconds before a loop that failed is started again, doubling."""

HEALTHY = 10.0
"""Seconds that a loop runs before it counts as well again; and that a trouble lasts before it is said, where
the loop itself says that it tries again."""

LONGEST = 300
"""Characters of a trouble."""


class Logger(Protocol):
    def error(self, event: str, **fields: object) -> object: ...


class Loops:
    """Keeps loops, by their names. `tell` takes what is wrong, each time anew; an empty text: nothing is."""

    def __init__(
        self,
        loops: Mapping[str, Background],
        *,
        troubles: Mapping[str, Callable[[], str]],
        tell: Callable[[str], None],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`troubles`: what loops say of themselves while they try again."""
        self._loops = loops
        self._asked = troubles
        self._tell = tell
        self._clock = clock
        self._log = log
        self._failed: dict[str, str] = {}
        self._since: dict[str, float] = {}
        """Since when a loop says that something is wrong."""

    def works(self) -> list[Background]:
        """All of it: each loop, kept, and the word to the supervisor."""
        return [self.say, *(_bound(self.keep, name, work) for name, work in self._loops.items())]

    async def keep(self, name: str, work: Background) -> None:
        """Run a loop until cancelled, again and again."""
        pause = LEAST
        while True:
            began = self._clock.monotonic()
            well = asyncio.get_running_loop().call_later(HEALTHY, self._failed.pop, name, None)
            try:
                await work()
                why = detail = "it ended"
            except Exception as error:  # noqa: BLE001 - whatever it is, the other loops go on
                first = _first(error)
                # Anybody may read what is told; what was handled when it failed is for the log alone.
                why, detail = f"failed with {type(first).__name__}", repr(first)
            finally:
                well.cancel()
            self._failed[name] = why
            self._log.error("engine_loop_failed", loop=name, detail=detail[:LONGEST])
            self._tell(self.trouble())
            pause = LEAST if self._clock.monotonic() - began >= HEALTHY else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, MOST)

    async def say(self) -> None:
        """Say how the loops stand until cancelled."""
        while True:
            await asyncio.to_thread(int)  # the threads in which the loops work have room
            self._tell(self.trouble())
            await asyncio.sleep(EVERY)

    def trouble(self) -> str:
        """What is wrong, loop by loop; empty: nothing."""
        found = dict(self._failed)
        now = self._clock.monotonic()
        for name, ask in self._asked.items():
            why = ask()
            if not why:
                self._since.pop(name, None)
            elif now - self._since.setdefault(name, now) >= HEALTHY:
                found.setdefault(name, why[:LONGEST])
        return "; ".join(f"{name}: {why}" for name, why in sorted(found.items()))


def _bound(
    keep: Callable[[str, Background], Coroutine[Any, Any, None]], name: str, work: Background
) -> Background:
    return lambda: keep(name, work)


def _first(error: Exception) -> Exception:
    """Of several failures the first."""
    if not isinstance(error, ExceptionGroup):
        return error
    several: tuple[Exception, ...] = cast("ExceptionGroup[Exception]", error).exceptions
    return _first(several[0])
