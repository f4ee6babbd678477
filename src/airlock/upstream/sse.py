"""Server-sent events, bytes in, events out (WHATWG HTML, section 9.2.6 "Interpreting an event stream").

Incremental and bounded: how the bytes were cut on their way never changes the events, and no event or line
grows beyond the limit. An event that the end of the stream cuts off is no event.
"""

from __future__ import annotations

from typing import NamedTuple

from airlock.core.errors import UpstreamFault

EVENT_MOST = 4 * 1024 * 1024
"""Bytes of one event."""
_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """`name` is `message` where the stream does not say; `last_id` is the last id seen so far."""

    name: bytes
    data: bytes
    last_id: bytes


class SseParser:
    """One stream. `retry` is the reconnection time that the server last announced, milliseconds."""

    def __init__(self, *, limit: int = EVENT_MOST) -> None:
        self.retry: int | None = None
        self._limit = limit
        self._line = bytearray()
        self._after_cr = False
        self._first = True
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0
        self._last_id = b""

    @property
    def last_id(self) -> bytes:
        """The id of the last event that had one."""
        return self._last_id

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that these bytes complete. Raises `UpstreamFault` when one is too large."""
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        events: list[SseEvent] = []
        if self._line and lines:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        for line in lines:
            self._take(line, events)
        self._line += rest
        self._bound(len(self._line))
        return events

    def _take(self, line: bytes, events: list[SseEvent]) -> None:
        self._bound(len(line))
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if line:
            self._field(line)
            return
        if self._data:
            data = b"\n".join(self._data) if len(self._data) > 1 else self._data[0]
            events.append(SseEvent(self._name or b"message", data, self._last_id))
            self._data = []
        self._name = b""
        self._size = 0

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == b"event":
            self._name = value
        elif name == b"id" and b"\0" not in value:
            self._last_id = value
        elif name == b"retry" and value.isdigit():
            self.retry = int(value[:9])

    def _bound(self, pending: int) -> None:
        if self._size + pending > self._limit:
            raise UpstreamFault.protocol(f"a server-sent event is larger than {self._limit} bytes")
