"""One answer to one POST: a JSON object, or a stream of events that ends with it.

The status line waits until the reply is there, or until there is something to say before it: a
notification, or 250 ms of silence from the upstream. Until then a refusal can still carry its own HTTP
status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from airlock.mcp import jsonrpc
from airlock.model.call import Reply

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
HeaderList = tuple[tuple[str, str], ...]

WATCH_AFTER = 0.02
"""Seconds before a call gets a companion that watches the client: a fast call never pays for one."""

OPEN_AFTER = 0.25
"""Seconds of silence after which a stream opens, if the client takes one (E-9)."""

KEEP_ALIVE = 15.0
"""Seconds without traffic after which a comment line is sent (H-13)."""

MAX_QUEUED = 1024
MAX_QUEUED_BYTES = 1024 * 1024
"""Notifications that may wait for a slow client, and their bytes; the oldest is dropped, the reply never."""

_STREAM: HeaderList = (
    ("content-type", "text/event-stream"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),
)


def event(message: bytes) -> bytes:
    """One server-sent event with one JSON-RPC message (H-12)."""
    return b"event: message\ndata: " + message + b"\n\n"


class Conversation:
    """The answer to one POST while it is being made."""

    def __init__(
        self,
        *,
        send: Send,
        receive: Receive,
        stream: bool,
        plain: bool,
        headers: HeaderList,
        cancel_when_gone: bool,
    ) -> None:
        self._send = send
        self._receive = receive
        self._stream_allowed = stream
        self._plain_allowed = plain
        self._headers = headers
        self._cancel_when_gone = cancel_when_gone
        self._queue: list[bytes] = []
        self._queued = 0
        self._news = asyncio.Event()
        self._opened = False
        self._gone = False

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Queue a notification for the client; dropped where the client takes no stream."""
        if self._stream_allowed:
            self._enqueue(event(jsonrpc.notification(method, params)))
            self._news.set()

    def _enqueue(self, message: bytes) -> None:
        self._queue.append(message)
        self._queued += len(message)
        while len(self._queue) > MAX_QUEUED or (self._queued > MAX_QUEUED_BYTES and len(self._queue) > 1):
            self._queued -= len(self._queue.pop(0))

    async def answer(self, work: Awaitable[Reply]) -> None:
        """Run `work` and send what it gives, in the form that the client takes.

        Where the client left and that ended `work`, there is nothing to send and nothing wrong.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        companion: asyncio.Task[None] | None = None

        def accompany() -> None:
            nonlocal companion
            companion = loop.create_task(self._accompany(task))

        timer = loop.call_later(WATCH_AFTER, accompany)
        try:
            reply = await work
        except asyncio.CancelledError:
            if self._gone and task is not None and task.uncancel() == 0:
                return
            raise
        finally:
            timer.cancel()
            if companion is not None:
                companion.cancel()
                await asyncio.wait([companion])
        await self._finish(reply)

    async def _accompany(self, task: asyncio.Task[object] | None) -> None:
        """Watch the client, and talk to it while the call runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(task))
            if self._stream_allowed:
                group.create_task(self._talk())

    async def _watch(self, task: asyncio.Task[object] | None) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._cancel_when_gone and task is not None:
            task.cancel()

    async def _talk(self) -> None:
        quiet = OPEN_AFTER - WATCH_AFTER
        while not self._gone:
            try:
                async with asyncio.timeout(quiet):
                    await self._news.wait()
            except TimeoutError:
                await self._write(b":\n\n" if self._opened else b"")
            else:
                await self._flush()
            quiet = KEEP_ALIVE

    async def _flush(self) -> None:
        """Send what is queued. What a cancelled `send` did not take stays queued, in its place."""
        self._news.clear()
        queued, self._queue, self._queued = self._queue, [], 0
        try:
            await self._write(b"".join(queued))
        except asyncio.CancelledError:
            self._queue[:0] = queued
            self._queued += sum(map(len, queued))
            raise

    async def _write(self, data: bytes) -> None:
        if self._gone:
            return
        if not self._opened:
            await _start(self._send, 200, (*_STREAM, *self._headers))
            self._opened = True
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _finish(self, reply: Reply) -> None:
        if self._gone:
            return
        if reply.contained:
            self._queue.clear()
        if self._opened or (reply.status == 200 and (self._queue or not self._plain_allowed)):
            await self._flush()
            last = event(reply.body) if reply.body else b""
            await self._send({"type": "http.response.body", "body": last, "more_body": False})
        else:
            await send_reply(self._send, reply, self._headers)


async def send_reply(send: Send, reply: Reply, extra: HeaderList) -> None:
    """A reply as one JSON object with its own status."""
    content = (("content-type", "application/json"), ("cache-control", "no-store")) if reply.body else ()
    length = ("content-length", str(len(reply.body)))
    await _start(send, reply.status, (*content, length, *reply.headers, *extra))
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


async def _start(send: Send, status: int, headers: HeaderList) -> None:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
