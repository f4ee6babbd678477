"""Limits that hold before a request exists: header block, time to send it.

uvicorn's parser sets none, so a peer could send header lines for ever. A breach is answered in plain HTTP
and closes the connection; nothing of it was parsed.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BLOCK = 32 * 1024
"""Bytes of request line and header lines together (H-15)."""

HEADER_TIME = 10.0
"""Seconds from the first byte of a request to the end of its header lines."""

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
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._pending += len(data)
            if self._deadline is None:
                self._deadline = self.loop.call_later(HEADER_TIME, self._refuse, _TOO_SLOW)
        super().data_received(data)
        if self._in_headers and self._pending > HEADER_BLOCK:
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._headers_end()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_headers = True
        self._pending = 0
        super().on_message_complete()

    def _headers_end(self) -> None:
        self._in_headers = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, answer: bytes) -> None:
        self._headers_end()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
