"""Says a thing at once, and whatever follows shortly after as one. One event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Coalesced:
    """Calls `say` at most once in so many seconds."""

    def __init__(self, *, seconds: float, say: Callable[[], None]) -> None:
        self._seconds = seconds
        self._say = say
        self._mute: asyncio.TimerHandle | None = None
        self._again = False

    def __call__(self) -> None:
        if self._mute is not None:
            self._again = True
            return
        self._say()
        self._again = False
        self._mute = asyncio.get_running_loop().call_later(self._seconds, self._unmute)

    def _unmute(self) -> None:
        self._mute = None
        if self._again:
            self()
