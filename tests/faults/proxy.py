"""A TCP proxy that makes whatever stands behind it slow, silent, torn, endless, senseless or absent.

It stands between the gateway and one server or provider. What it does may be changed while connections are
open, and holds for the next bytes on all of them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Generator
from contextlib import closing, contextmanager, suppress
from typing import Any, Self
from urllib.parse import urlsplit

from tests.faults.answers import GARBAGE, HONEST, LINGER, SENDERS, Behaviour
from tests.faults.facts import Facts, prove

PROBE = b"GET /probe HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n"
QUIET = 0.5
"""Seconds without a byte that prove silence, where the server itself answers a probe."""
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """`with Proxy("127.0.0.1:8000") as proxy:`. `target` is a URL or `host:port`."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target if "://" in target else f"//{target}")
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._parts = parts
        self._behaviour = HONEST
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._running: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        """Connections that were taken."""

    @property
    def url(self) -> str:
        """The URL of the target, through this proxy."""
        return self._parts._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextmanager
    def slow(self, seconds: float) -> Generator[Facts]:
        """Every answer comes `seconds` later (F4)."""
        with self._behaving(Behaviour(delay=seconds)):
            _, took, _ = self._probe(within=seconds + 30)
            prove(took >= seconds, f"a first byte after {seconds} s: it came after {took:.2f} s")
            yield _facts("F4u", f"a probe was answered after {took:.2f} s", delay=seconds)

    @contextmanager
    def throttled(self, bytes_per_second: float) -> Generator[Facts]:
        """Answers trickle."""
        with self._behaving(Behaviour(rate=bytes_per_second)):
            got, took, _ = self._probe(within=len(GARBAGE) + 30)
            prove(took >= len(got) / bytes_per_second / 2, f"{len(got)} bytes that trickle: {took:.2f} s")
            yield _facts("throttled", f"{len(got)} bytes took {took:.2f} s", rate=bytes_per_second)

    @contextmanager
    def silent(self) -> Generator[Facts]:
        """Connections are taken, requests arrive, and nothing comes back."""
        with self._behaving(Behaviour(answers="silent")):
            direct, _, _ = _ask(self._target, within=30)
            got, _, _ = self._probe(within=QUIET)
            prove(bool(direct) and not got, "silence, while the server behind answers")
            yield _facts("silent", f"no byte came within {QUIET} s; the server behind sent {len(direct)}")

    @contextmanager
    def garbage(self) -> Generator[Facts]:
        """In place of every answer come bytes that mean nothing, then the end."""
        with self._behaving(Behaviour(answers="garbage")):
            got, _, _ = self._probe(within=30)
            prove(got == GARBAGE, "bytes that mean nothing")
            yield _facts("garbage", f"a probe got {got[:8]!r}")

    @contextmanager
    def endless(self) -> Generator[Facts]:
        """An answer begins and goes on until the caller has had enough."""
        with self._behaving(Behaviour(answers="endless")):
            got, _, ended = self._probe(within=30, most=1024 * 1024)
            prove(not ended and len(got) >= 1024 * 1024, "more than 1 MiB without an end")
            yield _facts("endless", f"{len(got)} bytes came, and no end")

    @contextmanager
    def torn(self, after: int = 40) -> Generator[Facts]:
        """Every connection is reset after `after` bytes of its next answer."""
        with self._behaving(Behaviour(answers="torn", after=after)):
            direct, _, _ = _ask(self._target, within=30)
            got, _, _ = self._probe(within=30)
            prove(len(got) <= after < len(direct), f"at most {after} of {len(direct)} bytes: {len(got)} came")
            yield _facts("torn", f"{len(got)} of {len(direct)} bytes came", after=after)

    @contextmanager
    def down(self) -> Generator[Facts]:
        """Nothing listens (F18); open connections are reset. On the same port again when left."""
        self._do(self._shut())
        try:
            prove(not self._reachable(), f"nothing listening on port {self.port}")
            yield _facts("F18", f"connections to port {self.port} are refused", port=self.port)
        finally:
            self._do(self._listen())

    @contextmanager
    def _behaving(self, behaviour: Behaviour) -> Generator[None]:
        self._behaviour = behaviour
        try:
            yield
        finally:
            self._behaviour = HONEST
            self._do(self._reset())  # what is under way under the old rule would break the new one

    def _probe(self, *, within: float, most: int = 65536) -> tuple[bytes, float, bool]:
        return _ask(("127.0.0.1", self.port), within=within, most=most)

    def _reachable(self) -> bool:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.port), 5)):
            return True
        return False

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _reset(self) -> None:
        for writer in list(self._open):
            _abort(writer)
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self._open.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._relay(reader, writer)
        finally:
            _abort(writer)
            self._open.discard(writer)
            self._running.discard(task)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._open.add(back)
        try:
            forth = asyncio.ensure_future(_forward(reader, back))
            try:
                await self._answer(there, writer)
            finally:
                forth.cancel()
                await asyncio.gather(forth, return_exceptions=True)
        finally:
            _abort(back)
            self._open.discard(back)

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the server sends, each piece as the behaviour of its moment wants it."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        reading = asyncio.ensure_future(self._read(there, due))
        sending = asyncio.ensure_future(self._send(due, writer))
        try:
            await sending
        finally:
            for task in (reading, sending):
                task.cancel()
            await asyncio.gather(reading, sending, return_exceptions=True)

    async def _read(self, there: asyncio.StreamReader, due: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Put what comes, and its end, into the queue with the moment at which it is due."""
        piece = b"-"
        while piece:
            try:
                piece = await there.read(65536)
            except OSError:
                piece = b""
            due.put_nowait((time.monotonic() + self._behaviour.delay, piece))

    async def _send(self, due: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        sent = 0
        while True:
            moment, piece = await due.get()
            await asyncio.sleep(max(0.0, moment - time.monotonic()))
            behaviour = self._behaviour
            if behaviour.answers == "silent":
                continue
            if behaviour.answers == "torn":
                piece = piece[: behaviour.after - sent]
            sent += len(piece)
            if not await SENDERS[behaviour.answers](writer, piece, behaviour.rate):
                return
            if behaviour.answers == "torn" and sent >= behaviour.after:
                await asyncio.sleep(LINGER)
                return


async def _forward(reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65536):
            back.write(piece)
            await back.drain()
        back.write_eof()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Reset, as a process does that dies."""
    with suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _ask(address: tuple[str, int], *, within: float, most: int = 65536) -> tuple[bytes, float, bool]:
    """Send a probe; what came, the seconds until the first byte (or the last, where many trickle), and
    whether it ended."""
    got, began = bytearray(), time.monotonic()
    with closing(socket.create_connection(address, 30)) as connection:
        connection.settimeout(within)
        connection.sendall(PROBE)
        ended = False
        with suppress(OSError):
            while len(got) < most and not ended:
                piece = connection.recv(65536)
                got += piece
                ended = not piece
    return bytes(got), time.monotonic() - began, ended


def _facts(fault: str, proof: str, **values: Any) -> Facts:
    return Facts(fault=fault, proof=proof, values=values)
