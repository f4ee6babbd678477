"""One request on a connection and its answer: the body as it comes, the answer in one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from airlock.edge.heads import HeaderList, closes, known_lines, lines, status_line
from airlock.edge.limits import UNREAD
from airlock.edge.patience import Alarm
from airlock.edge.visit import Client, Fields, Listener

_CLOSE = b"connection: close\r\n\r\n"
_FAILED: HeaderList = (("content-type", "text/plain; charset=utf-8"), ("connection", "close"))


class Line(Protocol):
    """The connection, as far as a turn needs it."""

    def write(self, data: bytes) -> None: ...

    def done(self, turn: Turn) -> None:
        """The answer is complete."""
        ...

    def abort(self) -> None: ...

    def take_more(self, *, more: bool) -> None:
        """Whether more of the body is wanted now."""
        ...


class Turn:
    """A `Visit`. The connection tells it what arrives; it tells the connection when it is over."""

    __slots__ = (
        "_alarm",
        "_asked",
        "_chunked",
        "_drained",
        "_line",
        "_more",
        "_parts",
        "_size",
        "begun",
        "client",
        "complete",
        "ended",
        "fields",
        "gone",
        "keep",
        "listener",
        "method",
        "path",
        "paused",
        "query",
        "task",
    )

    def __init__(
        self,
        line: Line,
        *,
        method: str,
        path: bytes,
        query: bytes,
        fields: Fields,
        client: Client | None,
        keep: bool,
        chunked: bool,
        alarm: Alarm,
    ) -> None:
        """`keep`: the connection lives on after the answer. `chunked`: the peer knows HTTP/1.1."""
        self._alarm = alarm
        self.method = method
        self.path = path
        self.query = query
        self.fields = fields
        self.client = client
        self.keep = keep
        self.gone = self.paused = False
        self.complete = False
        """The message has arrived."""
        self.begun = self.ended = False
        """The answer: something of it was written, all of it was."""
        self.listener: Listener | None = None
        self.task: asyncio.Task[None] | None = None
        self._line = line
        self._chunked = chunked
        self._asked = False
        self._parts: list[bytes] = []
        self._size = 0
        self._more: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None

    # For who answers.

    def whole(self) -> bytes | None:
        if not self.complete or self.gone:
            return None
        parts = self._parts
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def piece(self) -> bytes | None:
        while not self._parts:
            if self.complete or self.gone:
                return None if self.gone else b""
            self._continue()
            self._line.take_more(more=True)
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return data

    def answer(self, status: int, usual: HeaderList, body: bytes, more: HeaderList = ()) -> None:
        if self.gone:
            return
        head = status_line(status) + known_lines(usual) + b"content-length: %d\r\n" % len(body)
        if more:
            head += lines(more)
        self._begin()
        if more and closes(more):
            self._over(head + b"\r\n", body, keep=False)
        else:
            self._over(head + (b"\r\n" if self.keep else _CLOSE), body, keep=self.keep)

    def say(self, headers: HeaderList, data: bytes, *, last: bool = False) -> None:
        if self.gone:
            return
        head = b""
        if not self.begun:
            head = status_line(200) + lines(headers) + self._framing()
            self._begin()
        if self._chunked:
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + (b"0\r\n\r\n" if last else b"")
        if last:
            self._over(head, data, keep=self.keep)
        else:
            self._line.write(head + data)

    async def drained(self) -> None:
        while self.paused and not self.gone:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def remind(self, seconds: float, what: Callable[[], None] | None) -> None:
        self._alarm.remind(seconds, what)

    # For the connection.

    def take(self, body: bytes) -> None:
        """A part of the body; thrown away where the answer did not wait for it."""
        if self.ended:
            return
        self._parts.append(body)
        self._size += len(body)
        if self._more is not None:
            self._wake()
        elif self._size > UNREAD:
            self._line.take_more(more=False)

    def finish(self) -> None:
        """The message is complete."""
        self.complete = True
        self._wake()

    def hold(self, *, paused: bool) -> None:
        """Whether the peer takes what is written."""
        self.paused = paused
        if not paused:
            if self._drained is not None and not self._drained.done():
                self._drained.set_result(None)
            if self.listener is not None:
                self.listener.resumed()

    def leave(self) -> None:
        """The connection is lost."""
        self.gone = True
        self._wake()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self.listener is not None:
            self.listener.left()

    def fail(self) -> None:
        """There will be no answer, or no more of it: a defect of ours."""
        if self.gone or self.ended:
            return
        if self.begun:
            self._line.abort()
        else:
            self.answer(500, (), b"Internal Server Error", _FAILED)

    def _begin(self) -> None:
        if self.begun:
            raise RuntimeError("an answer begins once")
        self.begun = True

    def _over(self, head: bytes, body: bytes, *, keep: bool) -> None:
        self.ended = True
        self.keep = keep
        self._parts.clear()
        self._line.write(head if self.method == "HEAD" else head + body)
        self._line.done(self)

    def _framing(self) -> bytes:
        """The last lines of a head without a length; HTTP/1.0 knows the end of an answer by the close."""
        close = b"" if self.keep else b"connection: close\r\n"
        return close + (b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n")

    def _continue(self) -> None:
        """Ask for the body, once, where the peer waits to be asked (RFC 9110 section 10.1.1)."""
        asked, self._asked = self._asked, True
        expects = (name == b"expect" and value.lower() == b"100-continue" for name, value in self.fields)
        if not asked and self._chunked and any(expects):
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _wake(self) -> None:
        if self._more is not None:
            if not self._more.done():
                self._more.set_result(None)
            self._more = None
