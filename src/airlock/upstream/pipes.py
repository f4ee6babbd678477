"""The three pipes of a stdio server, each bounded: what it reads, what it answers, what it complains of.

No pipe can make the runner wait or grow: writing queues up to a bound and gives up on a reader that stopped,
a line that does not end stops the server, complaints are kept in a ring and logged at a bounded rate.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.core.clock import Clock

MAX_LINE = 4 * 1024 * 1024
MAX_PENDING = 1024 * 1024
"""Bytes queued for a server that does not read."""
MAX_QUEUED = 32 * 1024 * 1024
"""Bytes queued for a server that does: a burst of large calls."""
WRITE_PATIENCE = 5.0
"""Seconds that a server may leave its input unread."""
READ_SIZE = 64 * 1024
"""Bytes taken from one pipe before the other servers have their turn."""
RING = 64 * 1024
LOGGED_LINES = 20
"""Lines of standard error per second that reach the log."""
LOGGED_LENGTH = 1024
"""Characters of one such line."""


class LineTooLong(ValueError):
    """A line exceeds its bound; the stream cannot be followed any more."""


class Lines:
    """Cuts a byte stream at line feeds. Linear in its input however small the pieces are."""

    def __init__(self, *, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. Raises `LineTooLong`."""
        *ended, rest = data.split(b"\n")
        if ended:
            ended[0] = b"".join((*self._pieces, ended[0]))
            self._pieces.clear()
            self._length = 0
        if rest:
            self._pieces.append(rest)
            self._length += len(rest)
        if self._length > self._limit or any(len(line) > self._limit for line in ended):
            raise LineTooLong(f"a line of more than {self._limit} bytes")
        return ended


class Message:
    """One line to a server. `started`: at least one byte of it was handed over."""

    __slots__ = ("data", "expired", "since", "started")

    def __init__(self, data: bytes, expired: Callable[[], None]) -> None:
        self.data = data
        self.started = False
        self.since = 0.0
        self.expired = expired
        """Called when the server left it unread for too long."""


class Blocked(Exception):
    """The server does not read its input; nothing of the message was handed over."""


class Outbox:
    """Writes to a non-blocking pipe in order. A message once started is finished, whoever waits for it."""

    def __init__(self, fd: int, *, clock: Clock, patience: float = WRITE_PATIENCE) -> None:
        self._fd = fd
        self._clock = clock
        self._patience = patience
        self._queue: deque[Message] = deque()
        self._offset = 0
        self._pending = 0
        self._taken = clock.monotonic()
        """When the server last took a byte, or had nothing to take."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.closed = False

    def push(self, message: Message) -> None:
        """Queue it, or raise `Blocked`. A closed pipe swallows it: the server's end answers its calls."""
        if self.closed:
            return
        now = self._clock.monotonic()
        idle = now - self._taken
        if self._queue and (
            self._pending >= MAX_QUEUED or (self._pending >= MAX_PENDING and idle >= self._patience / 5)
        ):
            raise Blocked
        message.since = now
        self._queue.append(message)
        self._pending += len(message.data)
        if len(self._queue) == 1:
            self._taken = now
            self._write()

    def withdraw(self, message: Message) -> bool:
        """Take it back; False where the server may have begun to read it."""
        if message.started:
            return False
        if message in self._queue:
            self._queue.remove(message)
            self._pending -= len(message.data)
        return True

    def close(self) -> None:
        """End of input for the server."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_writer(self._fd)
        self._stop_timer()
        os.close(self._fd)

    def _write(self) -> None:
        """As much as the pipe takes now."""
        while self._queue:
            message = self._queue[0]
            try:
                count = os.write(self._fd, memoryview(message.data)[self._offset :])
            except BlockingIOError:
                self._loop.add_writer(self._fd, self._write)
                self._start_timer()
                return
            except OSError:
                # Nobody reads any more: the server has ended or closed its input, and its end is on its way.
                self.close()
                return
            message.started = True
            self._taken = self._clock.monotonic()
            self._offset += count
            self._pending -= count
            if self._offset == len(message.data):
                self._queue.popleft()
                self._offset = 0
        self._loop.remove_writer(self._fd)
        self._stop_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience / 5, self._check)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """Give up what has waited too long. A started message stays in the pipe, its caller does not."""
        self._timer = None
        self._start_timer()
        now = self._clock.monotonic()
        if now - self._taken < self._patience:
            return
        for message in [m for m in self._queue if now - m.since >= self._patience]:
            self.withdraw(message)
            message.expired()


class Complaints:
    """Standard error: the last 64 KiB for an operator, a bounded rate of escaped lines for the log."""

    def __init__(self, *, clock: Clock, write: Callable[[str], None]) -> None:
        self._clock = clock
        self._write = write
        self._ring: deque[bytes] = deque()
        self._kept = 0
        self._partial = b""
        self._second: int = 0
        self._logged = 0
        self.suppressed = 0
        """Lines that did not reach the log."""

    @property
    def ring(self) -> bytes:
        return b"".join(self._ring)[-RING:]

    def feed(self, data: bytes) -> None:
        self._ring.append(data[-RING:])
        self._kept += len(self._ring[-1])
        while self._kept - len(self._ring[0]) >= RING:
            self._kept -= len(self._ring.popleft())
        *lines, rest = (self._partial + data).split(b"\n")
        self._partial = rest[:LOGGED_LENGTH]
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._logged = second, 0
        room = LOGGED_LINES - self._logged
        for line in lines[:room]:
            self._write(escaped(line[:LOGGED_LENGTH]))
        self._logged += len(lines[:room])
        self.suppressed += len(lines[room:])


def escaped(line: bytes) -> str:
    """Text that cannot move a cursor or forge a log line: everything unprintable as `\\x..` or `\\u....`."""
    text = line.decode("utf-8", "backslashreplace").rstrip("\r")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
