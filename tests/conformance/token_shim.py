"""What stands between the suite and the gateway: it adds a token, because the suite cannot send one.

Bytes pass as they come, in both directions, and so does the end of a connection. To every request exactly one
line is added, `Authorization`, after the request line. Only peers on the loopback are served.

`AIRLOCK_TOKEN=... python -m tests.conformance.token_shim --listen 8090 --to 8080`
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import socket
import threading
from concurrent.futures import Future
from typing import Self

HEAD = 64 * 1024
"""Bytes of a request's head, at most; the gateway takes less."""
CHUNK = 64 * 1024
PARTING = 5.0
"""Seconds that a peer gets to take the last bytes of a connection."""


class Refused(Exception):
    """A peer or a request that the shim does not serve."""


def checked(peer: str) -> str:
    """The address of a peer on this machine's loopback. Raises `Refused` for any other."""
    if not ipaddress.ip_address(peer).is_loopback:
        raise Refused(f"{peer} is not on the loopback")
    return peer


def authorized(head: bytes, token: str) -> bytes:
    """A request's head, up to and with its empty line, with the token in it."""
    line, rest = head.split(b"\r\n", 1)
    return b"%s\r\nAuthorization: Bearer %s\r\n%s" % (line, token.encode(), rest)


def framing(head: bytes) -> int | None:
    """Length of the body that follows a head, in bytes; None where it comes in chunks."""
    fields = [line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:] if b":" in line]
    values = {name.strip(): value.strip() for name, value in fields}
    if b"chunked" in values.get(b"transfer-encoding", b""):
        return None
    return int(values.get(b"content-length", b"0"))


class Shim:
    """`with Shim(to=8080, token="...") as shim:`; it listens on `shim.port`, and serves from a thread."""

    def __init__(self, *, to: int, token: str, listen: int = 0) -> None:
        self.port = listen
        self._to = to
        self._token = token
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def wait(self) -> None:
        """Serve until the process is interrupted."""
        Future[None]().result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=HEAD)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a peer, and one to the gateway. The end of either ends both."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            checked(writer.get_extra_info("peername")[0])
            await self._carry(reader, writer)
        except (OSError, Refused, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            await _close(writer)
            self._running.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_connection("127.0.0.1", self._to)
        for each in (writer, on):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = [
            asyncio.ensure_future(self._requests(reader, on)),
            asyncio.ensure_future(_bytes(back, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await _close(on)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after another, each with the token."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(authorized(head, self._token))
            length = framing(head)
            if length is None:
                await _chunks(reader, writer)
            else:
                await _exactly(reader, writer, length)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Send what is left, to a peer that takes it, and close."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), PARTING)
    except (OSError, TimeoutError):
        writer.transport.abort()


async def _exactly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> None:
    while length:
        data = await reader.read(min(length, CHUNK))
        if not data:
            raise ConnectionResetError("the body ends early")
        length -= len(data)
        writer.write(data)
        await writer.drain()
    await writer.drain()


async def _chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body in chunks, and its trailer, as they are."""
    while True:
        line = await reader.readuntil(b"\r\n")
        writer.write(line)
        size = int(line.split(b";")[0], 16)
        if not size:
            break
        await _exactly(reader, writer, size + 2)
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        writer.write(line)
    await writer.drain()


async def _bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything, at once: an event of a stream is passed on when it comes."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


def main() -> None:
    parser = argparse.ArgumentParser(prog="token_shim", description=__doc__)
    parser.add_argument("--listen", type=int, required=True, help="the port that the suite asks")
    parser.add_argument("--to", type=int, required=True, help="the port of the gateway")
    given = parser.parse_args()
    with Shim(listen=given.listen, to=given.to, token=os.environ["AIRLOCK_TOKEN"]) as shim:
        shim.wait()


if __name__ == "__main__":
    main()
