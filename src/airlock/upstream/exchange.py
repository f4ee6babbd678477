"""One HTTP request and its answer: one JSON body, or the messages of an event stream as they come.

Bytes are collected by the event loop and taken by the task that asked, so a notification is delivered in the
order and in the context of its own request, and nothing is delivered once that task was cancelled.
Whatever arrived before a connection was lost is delivered before the loss is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from airlock.core.errors import UpstreamFault
from airlock.upstream.dialogue import MESSAGES_AT_ONCE, MESSAGES_MOST
from airlock.upstream.sse import SseParser

if TYPE_CHECKING:
    from airlock.upstream.connection import Connection

BODY_MOST = 16 * 1024 * 1024
"""Bytes of a body that is one JSON message."""
STREAM_MOST = 64 * 1024 * 1024
"""Bytes of all events of one call."""
SILENCE = 60.0
"""Seconds of silence in an answer that has begun."""

JSON = b"application/json"
EVENTS = b"text/event-stream"


class Exchange:
    """The sink of one request. `next` yields message bytes in order, then None when the answer has ended."""

    __slots__ = (
        "_connection",
        "_ended",
        "_events",
        "_fault",
        "_inbox",
        "_parser",
        "_parts",
        "_size",
        "_taken",
        "_waiter",
        "early",
        "fields",
        "kind",
        "status",
    )

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.kind = b""
        """Media type of the answer, without parameters."""
        self.fields: dict[bytes, bytes] = {}
        self.early = False
        """The connection was lost before one byte of an answer."""
        self._connection = connection
        self._parser: SseParser | None = None
        self._parts: list[bytes] = []
        self._inbox: deque[bytes] = deque()
        self._size = 0
        self._events = 0
        self._taken = 0
        self._ended = False
        self._fault: UpstreamFault | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def last_id(self) -> bytes:
        """The id of the last event of a stream, with which it can be asked for again; empty without."""
        return b"" if self._parser is None else self._parser.last_id

    @property
    def retry(self) -> float:
        """Seconds after which the server wants a stream to be asked for again; 0 where it does not say."""
        announced = None if self._parser is None else self._parser.retry
        return 0.0 if announced is None else announced / 1000

    @property
    def resumable(self) -> bool:
        """Whether the answer was a stream that ended, and that can be asked for again."""
        return (self._ended or self._fault is not None) and bool(self.last_id)

    async def next(self) -> bytes | None:
        """The next message, or None after the last. Raises the `UpstreamFault` that cut the answer off."""
        self._taken += 1
        if self._taken % MESSAGES_AT_ONCE == 0:
            await asyncio.sleep(0)
        while not self._inbox:
            if self._fault is not None:
                raise self._fault
            if self._ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._inbox.popleft()

    def wait_for(self, seconds: float) -> None:
        """From here on the answer may be silent for so long."""
        self._connection.bear(seconds)

    def leave(self) -> int:
        """Take nothing more. A stream may still end by itself; returns how many messages were left over."""
        if not self._ended and self._fault is None:
            self._connection.drain()
        return len(self._inbox)

    def abort(self) -> bool:
        """Close the connection unless the answer is over: in the modern era this cancels the request.

        Returns whether it was closed.
        """
        running = not self._ended and self._fault is None
        if running:
            self._connection.abort()
            self._ended = True
        return running

    # Called by the connection.

    def head(self, status: int, fields: dict[bytes, bytes]) -> str:
        self.status = status
        self.fields = fields
        self.kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if fields.get(b"content-encoding", b"identity").lower() != b"identity":
            return "a compressed answer, though none was asked for"
        if status == 200 and self.kind == EVENTS:
            self._parser = SseParser()
        return ""

    def body(self, chunk: bytes) -> str:
        self._size += len(chunk)
        if self._parser is None:
            self._parts.append(chunk)
            return "" if self._size <= BODY_MOST else f"a body larger than {BODY_MOST} bytes"
        if self._size > STREAM_MOST:
            return f"a stream larger than {STREAM_MOST} bytes"
        try:
            events = self._parser.feed(chunk)
        except UpstreamFault as fault:
            return fault.detail
        self._events += len(events)
        if self._events > MESSAGES_MOST:
            return f"a stream of more than {MESSAGES_MOST} messages"
        for event in events:
            if event.data and event.name == b"message":
                self._inbox.append(event.data)
        if self._inbox:
            self._wake()
        return ""

    def end(self) -> None:
        self._ended = True
        if self._parser is None:
            self._inbox.append(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
        self._wake()

    def lost(self, fault: UpstreamFault, *, early: bool) -> None:
        self._fault = fault
        self.early = early
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Opening(Exchange):
    """The same, and `opened` is called when the answer begins."""

    __slots__ = ("_opened",)

    def __init__(self, connection: Connection, opened: Callable[[], None]) -> None:
        super().__init__(connection)
        self._opened = opened

    def head(self, status: int, fields: dict[bytes, bytes]) -> str:
        self._opened()
        return super().head(status, fields)


class Unattended:
    """A sink for a request whose answer changes nothing; the connection is kept if it can be."""

    def head(self, status: int, fields: dict[bytes, bytes]) -> str:
        del status, fields
        return ""

    def body(self, chunk: bytes) -> str:
        del chunk
        return ""

    def end(self) -> None:
        """Nothing waits for it."""

    def lost(self, fault: UpstreamFault, *, early: bool) -> None:
        del fault, early
