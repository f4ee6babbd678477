"""Limits below requests: size and time of headers, framing and answers.

uvicorn's parser sets none, so a peer could send header lines, trailers, or requests that it never reads the
answers of, for ever. A breach is answered in plain HTTP where no answer began, and closes the connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BLOCK = 32 * 1024
"""Bytes of request line and header lines together (H-15)."""

HEADER_TIME = 10.0
"""Seconds from the first byte of a request to the end of its header lines."""

MESSAGE_TIME = 40.0
"""Seconds from the end of the header lines to the end of the body; who reads the body gives up before."""

WRITE_TIME = 30.0
"""Seconds in which a peer has to take some of an answer that waits for it."""

PIPELINED = 4
"""Requests that may wait for the answer to one before them (RFC 9112 section 9.3.2 lets servers wait)."""

FRAMING = 64 * 1024
"""Bytes of a message that are neither headers nor body, beyond seven for each byte of body: the smallest
chunks take five, chunk extensions and trailers are nobody's need."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a bound on the bytes and the time of a header block."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pending = 0
        """Bytes since the header block began."""
        self._in_headers = True
        self._deadline: asyncio.TimerHandle | None = None
        self._received = 0
        self._body = 0
        """Bytes since the header block ended: all of them, and those of the body."""
        self._reader: asyncio.TimerHandle | None = None
        """Looks whether the peer takes what is written."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._deadline = self.loop.call_later(HEADER_TIME, self._refuse, _TOO_SLOW)

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_end()
        self._reader_waits(False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._pending += len(data)
            if self._deadline is None:
                self._deadline = self.loop.call_later(HEADER_TIME, self._refuse, _TOO_SLOW)
        else:
            self._received += len(data)
        super().data_received(data)
        if self._in_headers and self._pending > HEADER_BLOCK:
            self._refuse(_TOO_LARGE)
        if not self._in_headers and self._received > 8 * self._body + FRAMING:
            self._refuse(b"")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:
            super().on_header(name, value)
        else:
            self._refuse(b"")  # a trailer: what stands behind the body was never checked by anybody before us

    def on_headers_complete(self) -> None:
        self._headers_end()
        if self._size() > HEADER_BLOCK:
            self._refuse(_TOO_LARGE)
        if self.transport.is_closing():
            return
        self._deadline = self.loop.call_later(MESSAGE_TIME, self._refuse, b"")
        self._received = self._body = 0
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.transport.is_closing():
            return
        self._headers_end()
        self._in_headers = True
        self._pending = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_waits(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reader_waits(False)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._reader_waits(True)

    def _reader_waits(self, waits: bool) -> None:
        """Look again and again whether the peer takes what waits for it, or stop looking."""
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
        if waits:
            left = self.transport.get_write_buffer_size()
            self._reader = self.loop.call_later(WRITE_TIME, self._still_reading, left)

    def _still_reading(self, before: int) -> None:
        if self.transport.get_write_buffer_size() >= before:
            self.transport.abort()
        else:
            self._reader_waits(True)

    def _size(self) -> int:
        """Bytes of the header block, whatever else came in the same piece."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _headers_end(self) -> None:
        self._in_headers = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, answer: bytes) -> None:
        self._headers_end()
        if not self.transport.is_closing():
            answering = bool(self.cycle) and not self.cycle.response_complete
            if not answering:
                self.transport.write(answer)
            self.transport.close()
