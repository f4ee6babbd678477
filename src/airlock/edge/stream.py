"""One answer to one POST: a JSON object, or a stream of events that ends with it.

The status line waits until the reply is there, or until there is something to say before it: a
notification, or 250 ms of silence from the upstream. Until then a refusal can still carry its own HTTP
status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from airlock.edge.heads import HeaderList
from airlock.edge.visit import Visit
from airlock.gateway.kept import Kept, Streams
from airlock.mcp import jsonrpc
from airlock.mcp.eras import LATEST_LEGACY
from airlock.model.call import Redacted, Reply

HOLD = 0.02
"""Seconds from the beginning for which notifications wait: a fast call is refused with its own status."""

OPEN_AFTER = 0.25
"""Seconds of silence after which a stream opens, if the client takes one (E-9)."""

KEEP_ALIVE = 15.0
"""Seconds without traffic after which a comment line is sent (H-13)."""

MAX_QUEUED = 1024
MAX_QUEUED_BYTES = 1024 * 1024
"""Notifications that may wait for a slow client, and their bytes; the oldest is dropped, the reply never."""

_JSON: HeaderList = (("content-type", "application/json"), ("cache-control", "no-store"))
STREAM: HeaderList = (
    ("content-type", "text/event-stream"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),
)


def event(message: bytes) -> bytes:
    """One server-sent event with one JSON-RPC message (H-12)."""
    return b"event: message\ndata: " + message + b"\n\n"


class Conversation:
    """The answer to one POST while it is being made. A `Listener` of its visit."""

    def __init__(
        self,
        *,
        visit: Visit,
        stream: bool,
        plain: bool,
        headers: HeaderList,
        cancel_when_gone: bool,
        streams: Streams | None = None,
        early: bool = True,
    ) -> None:
        """`streams`: where a legacy client finds in its session what it missed; None: nowhere. `early`:
        whether silence opens the stream; not where the reply may bring headers of its own, a session id."""
        self._early = early
        self._streams = streams
        self._session = self._version = ""
        self._kept: Kept | None = None
        self._call: Redacted | None = None
        self._visit = visit
        self._stream_allowed = stream
        self._plain_allowed = plain
        self._headers = headers
        self._cancel_when_gone = cancel_when_gone
        self._queue: list[bytes] = []
        self._queued = 0
        self._task: asyncio.Task[object] | None = None
        self._held_until = 0.0
        self._due = False
        """What is queued is sent in a moment."""
        self._opened = False
        self._concluded = False
        """The reply was sent before the call ended."""
        self._cancelled = False

    @property
    def hears(self) -> bool:
        """The client is there, and takes more than the answer."""
        return self._stream_allowed and not self._visit.gone

    def enter(self, session: str, version: str) -> None:
        """What is said belongs to a session."""
        self._session, self._version = session, version

    def belongs(self, call: Redacted) -> None:
        """The call that is answered."""
        self._call = call

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Queue a notification for the client; dropped where the client takes no stream."""
        self._tell(jsonrpc.notification(method, params))

    def request(self, id: str, method: str, params: dict[str, Any]) -> None:
        """Queue a request for the client; only legacy clients are sent any."""
        self._tell(jsonrpc.request(id, method, params))

    def _tell(self, message: bytes) -> None:
        if self._stream_allowed and self._task is not None:
            self._enqueue(self._event(message))
            self._send_soon()

    def _event(self, message: bytes) -> bytes:
        kept = self._keeping()
        return event(message) if kept is None else kept.add(message)

    def _keeping(self) -> Kept | None:
        if self._kept is None and self._session and self._streams is not None:
            self._kept = self._streams.begin(self._session)
        return self._kept

    def _opening(self) -> bytes:
        """What a stream begins with: an event that says where to come back to (H-13)."""
        if self._opened:
            return b""
        self._opened = True
        kept = self._keeping() if self._version == LATEST_LEGACY else None
        return b"" if kept is None else kept.opening

    def _enqueue(self, message: bytes) -> None:
        self._queue.append(message)
        self._queued += len(message)
        while len(self._queue) > MAX_QUEUED or (self._queued > MAX_QUEUED_BYTES and len(self._queue) > 1):
            self._queued -= len(self._queue.pop(0))

    async def answer(self, work: Awaitable[Reply]) -> None:
        """Run `work` and send what it gives, in the form that the client takes.

        Where the client left and that ended `work`, there is nothing to send and nothing wrong.
        """
        visit = self._visit
        self._task = task = asyncio.current_task()
        visit.listener = self
        if visit.gone:
            self.left()
        if self._stream_allowed:
            self._held_until = asyncio.get_running_loop().time() + HOLD
            if self._early:
                visit.remind(OPEN_AFTER, self._quiet)
        try:
            reply = await work
        except asyncio.CancelledError:
            if self._cancelled and task is not None and task.uncancel() == 0:
                return
            raise
        finally:
            self._rest()
        if not self._concluded:
            await self._finish(reply)

    def conclude(self, reply: Reply) -> None:
        """Send the reply of the work that still runs; nothing is said after it. Where the stream is not open,
        or its client does not take what was sent, it is sent when the work has ended."""
        if self._opened and self._task is not None and not self._visit.paused:
            self._rest()
            self._concluded = True
            data = self._queue_emptied() + self._event(reply.body)
            self._visit.say((*self._stream_headers, *reply.headers), data, last=True)

    def _rest(self) -> None:
        """Hear and say no more. Once: the next request on the connection has its reminders there too."""
        if self._task is not None:
            self._task = self._visit.listener = None
            self._visit.remind(0.0, None)

    # Called by the visit while the call runs.

    def left(self) -> None:
        """The client went away."""
        if self._cancel_when_gone and not self._cancelled and self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def resumed(self) -> None:
        """The client takes something again."""
        if self._queue:
            self._send_soon()

    def _send_soon(self) -> None:
        """Together with what else is said in this turn of the loop."""
        if not self._due:
            self._due = True
            wait = self._held_until - asyncio.get_running_loop().time()
            self._visit.remind(max(0.0, wait), self._flush)

    def _quiet(self) -> None:
        """Nothing was said for a while: open the stream, or show that it lives."""
        if not self._visit.paused:
            self._visit.say(self._stream_headers, b":\n\n" if self._opened else self._opening())
        self._visit.remind(KEEP_ALIVE, self._quiet)

    def _flush(self) -> None:
        """Send what is queued, unless the client does not take what was sent before: then it stays."""
        self._due = False
        if not self._visit.paused:
            self._visit.say(self._stream_headers, self._opening() + self._queue_emptied())
        self._visit.remind(KEEP_ALIVE, self._quiet)

    @property
    def _stream_headers(self) -> HeaderList:
        return (*STREAM, *self._headers)

    def _queue_emptied(self) -> bytes:
        queued, self._queue, self._queued = self._queue, [], 0
        return b"".join(queued)

    async def _finish(self, reply: Reply) -> None:
        visit = self._visit
        if reply.contained:
            self._queue.clear()
            if self._kept is not None:
                self._kept.forget()
        if self._opened or (reply.status == 200 and (self._queue or not self._plain_allowed)):
            await visit.drained()
            opening = self._opening()
            last = self._event(reply.body) if reply.body else b""
            if self._kept is not None:
                self._kept.end(self._call if visit.gone else None)
            headers = (*self._stream_headers, *reply.headers)
            visit.say(headers, opening + self._queue_emptied() + last, last=True)
        else:
            send_reply(visit, reply, self._headers)
            if visit.gone and self._call is not None and self._streams is not None:
                await self._streams.lost(self._call)


def send_reply(visit: Visit, reply: Reply, extra: HeaderList) -> None:
    """A reply as one JSON object with its own status."""
    visit.answer(reply.status, _JSON if reply.body else (), reply.body, reply.headers + extra)
