"""The two ends of `airlock connect`: HTTP to the gateway, lines to the client."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from airlock import __version__
from airlock.cli.shim import LONGEST_LINE, Fields
from airlock.core.clock import SYSTEM
from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.exchange import Exchange
from airlock.upstream.guard import Endpoint
from airlock.upstream.pool import Pool

CALM = 60.0
"""Seconds of silence of the gateway: it says at least every 15 s that a call is still running."""

LONGEST_CALL = 86_400.0
"""Seconds for one request in all; the gateway's own limits end it long before."""


class Link:
    """HTTP to the gateway."""

    def __init__(self, endpoint: Endpoint, token: Callable[[], str], ca_file: Path | None) -> None:
        """Raises OSError or ssl.SSLError for authorities that cannot be read."""
        origin = endpoint.origin
        tls = ssl.create_default_context(cafile=ca_file) if origin.scheme == "https" else None
        self._pool = Pool(origin=origin, allowed=(origin,), clock=SYSTEM, tls=tls)
        self._token = token
        self._common = (
            f" {endpoint.target} HTTP/1.1\r\n"
            f"Host: {endpoint.authority}\r\n"
            "Accept: application/json, text/event-stream\r\n"
            "Content-Type: application/json\r\n"
            f"User-Agent: airlock-connect/{__version__}\r\n"
        )

    async def post(self, fields: Fields, body: bytes) -> Exchange:
        """Send one message. Raises `UpstreamFault` where the gateway cannot be reached."""
        return await self._send("POST", fields, body)

    async def end_session(self, fields: Fields) -> None:
        """Tell the gateway that the session is over."""
        await (await self._send("DELETE", fields, b"")).next()

    def close(self) -> None:
        self._pool.close()

    async def _send(self, method: str, fields: Fields, body: bytes) -> Exchange:
        try:
            own: Fields = (("Authorization", f"Bearer {self._token()}"), ("Content-Length", str(len(body))))
            lines = "".join(f"{name}: {value}\r\n" for name, value in (*fields, *own))
            head = f"{method}{self._common}{lines}\r\n".encode("ascii")
        except (OSError, UnicodeError) as error:
            raise UpstreamFault.unavailable(
                f"the token cannot be read: {error}", effect=Effect.NONE
            ) from error
        deadline = SYSTEM.monotonic() + LONGEST_CALL
        connection = await self._pool.take(deadline)
        exchange = Exchange(connection)
        connection.send(head + body, exchange, first_byte=CALM, idle=CALM, deadline=deadline)
        return exchange


async def lines() -> AsyncIterator[bytes]:
    """Lines of standard input, whatever it is; read in a thread that may be left behind at the end."""
    loop = asyncio.get_running_loop()
    found: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        # Not through `sys.stdin`: a thread that holds its lock keeps the interpreter from ending.
        pending = b""
        with suppress(RuntimeError):  # the loop has ended
            while chunk := os.read(0, 1 << 16):
                *whole, pending = (pending + chunk).split(b"\n")
                for line in whole:
                    loop.call_soon_threadsafe(found.put_nowait, line + b"\n")
                pending = pending[: LONGEST_LINE + 1]
            if pending:
                loop.call_soon_threadsafe(found.put_nowait, pending)
            loop.call_soon_threadsafe(found.put_nowait, b"")

    threading.Thread(target=read, daemon=True).start()
    while line := await found.get():
        yield line


def write(message: bytes) -> None:
    sys.stdout.buffer.write(message + b"\n")
    sys.stdout.buffer.flush()
