"""Limits below requests: size and time of the header block, time of the whole message.

uvicorn's parser sets none, so a peer could send header lines, or a body that nobody reads any more, for
ever. A breach is answered in plain HTTP where no answer began, and closes the connection.
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._deadline = self.loop.call_later(HEADER_TIME, self._refuse, _TOO_SLOW)

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._pending += len(data)
            if self._deadline is None:
                self._deadline = self.loop.call_later(HEADER_TIME, self._refuse, _TOO_SLOW)
        super().data_received(data)
        if self._in_headers and self._pending > HEADER_BLOCK:
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._headers_end()
        if self._size() > HEADER_BLOCK:
            self._refuse(_TOO_LARGE)
        if self.transport.is_closing():
            return
        self._deadline = self.loop.call_later(MESSAGE_TIME, self._refuse, b"")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.transport.is_closing():
            return
        self._headers_end()
        self._in_headers = True
        self._pending = 0
        super().on_message_complete()

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
