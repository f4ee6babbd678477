"""How long a connection waits for its peer: to go on, and to take what was written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from airlock.edge import limits

EARLY = 0.001
"""Seconds by which loops may be too early, because they count in milliseconds."""


class Alarm:
    """One timer for two moments: when the peer must have gone on, and a reminder for who answers.

    It rings at or before what is due, looks, and sets itself again: what is put off costs no timer.
    """

    __slots__ = ("_at", "_loop", "_overdue", "_remind_at", "_reminder", "_stopped", "_timer", "due")

    def __init__(self, overdue: Callable[[], None]) -> None:
        self.due = 0.0
        """Seconds of the loop; 0: the peer has nothing to do."""
        self._overdue = overdue
        self._loop = asyncio.get_running_loop()
        self._remind_at = 0.0
        self._reminder: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0
        self._stopped = False

    def expect(self, seconds: float) -> None:
        """The peer has so many seconds from now."""
        self.due = self._loop.time() + seconds
        self._set(self.due)

    def expect_sooner(self, seconds: float) -> None:
        """The same, unless it has less already."""
        due = self.due
        self.expect(seconds)
        if due:
            self.due = min(due, self.due)
            self._set(self.due)

    def remind(self, seconds: float, what: Callable[[], None] | None) -> None:
        """Call `what` once, in place of what was to be called before."""
        self._reminder = what
        self._remind_at = 0.0
        if what is not None:
            self._remind_at = self._loop.time() + seconds
            self._set(self._remind_at)

    def stop(self) -> None:
        """Never ring again."""
        self._stopped = True
        self._overdue = _nobody  # who waits holds us
        self.due = self._remind_at = 0.0
        self._reminder = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, moment: float) -> None:
        if self._stopped:
            return
        if self._timer is not None:
            if self._at <= moment:
                return
            self._timer.cancel()
        self._at = moment
        self._timer = self._loop.call_at(moment, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time() + EARLY
        if self.due and now >= self.due:
            self.due = 0.0
            self._overdue()
        if self._remind_at and now >= self._remind_at:
            what, self._reminder, self._remind_at = self._reminder, None, 0.0
            if what is not None:
                what()
        for moment in (self.due, self._remind_at):
            if moment:
                self._set(moment)


def _nobody() -> None:
    """Waits no more."""


class Reader:
    """Watches a peer that does not take what is written, and cuts it off where it takes nothing at all."""

    __slots__ = ("_timer", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Look again and again, until told to stop."""
        self.stop()
        left = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(limits.WRITE_TIME, self._look, left)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, before: int) -> None:
        if self._transport.get_write_buffer_size() >= before:
            self._transport.abort()
        else:
            self.watch()
