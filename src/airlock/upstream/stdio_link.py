"""A gateway worker's connection to the runner of stdio servers, shared by all servers of the worker.

`RunnerLink.run` keeps it up for the life of the worker. When it is lost, every call that was handed over
fails with an effect that is possible, every other one without; new calls wait shortly for the next runner.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import msgspec

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.frames import (
    Cancel,
    Event,
    FrameError,
    FrameReader,
    FromRunner,
    Leave,
    Notified,
    Said,
    ToRunner,
    TurnedAway,
    Watch,
    encode,
    failure,
    from_runner,
    socket_address,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airlock.core.clock import Clock

RECONNECT = 0.05
RECONNECT_MOST = 1.0
"""Seconds between two attempts to reach the runner: at first, and at most after doubling."""
ABSENCE = 2.0
"""Seconds that a call waits for a runner that is being restarted."""


class Pending:
    """What has come for one call and was not taken yet."""

    __slots__ = ("_inbox", "_waiter")

    def __init__(self) -> None:
        self._inbox: deque[tuple[FromRunner, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, head: FromRunner, body: bytes) -> None:
        self._inbox.append((head, body))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> tuple[FromRunner, bytes]:
        while not self._inbox:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._inbox.popleft()


class _Wire(asyncio.Protocol):
    """One connection to one runner. Frames of one turn of the loop are written together."""

    def __init__(self, receive: Callable[[FromRunner, bytes], None]) -> None:
        self._receive = receive
        self._reader = FrameReader()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        try:
            for head, body in self._reader.feed(data):
                self._receive(from_runner.decode(head), body)
        except (FrameError, msgspec.DecodeError):
            self.abort()

    def send(self, head: ToRunner, body: bytes = b"") -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(encode(head, body))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))


class RunnerLink:
    """The connection of one worker. `on_event` is called on the loop for every event of every server."""

    def __init__(self, *, path: Path, clock: Clock, on_event: Callable[[Event], None]) -> None:
        self._path = path
        self._clock = clock
        self._on_event = on_event
        self._wire: _Wire | None = None
        self._connected = asyncio.Event()
        self._pending: dict[int, Pending] = {}
        self._watched: dict[tuple[str, str], frozenset[str]] = {}
        """By server and owner."""
        self._next = 1

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost. Runs until cancelled."""
        pause = RECONNECT
        try:
            while True:
                try:
                    wire = await self._connect()
                except OSError:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, RECONNECT_MOST)
                    continue
                pause = RECONNECT
                self._wire = wire
                for (server, owner), uris in self._watched.items():
                    wire.send(Watch(server=server, owner=owner, uris=tuple(uris)))
                self._connected.set()
                await asyncio.wait([wire.lost])
                self._disconnected("the runner of stdio servers ended")
        finally:
            if self._wire is not None:
                self._wire.abort()
            self._disconnected("the gateway stops")

    async def hand_over(
        self, head: Callable[[int], ToRunner], body: bytes, *, deadline: float
    ) -> tuple[int, Pending]:
        """Send a frame under a new number, to be given to `end`. Raises `UpstreamFault` without effect."""
        while self._wire is None:
            await self._await_runner(deadline)
        n = self._next
        self._next += 1
        pending = self._pending[n] = Pending()
        self._wire.send(head(n), body)
        return n, pending

    def end(self, n: int) -> None:
        """Nobody waits for `n` any more; if it still runs, it is cancelled at the server."""
        if self._pending.pop(n, None) is not None and self._wire is not None:
            self._wire.send(Cancel(n=n))

    def say(self, n: int, message: bytes) -> None:
        """What the client of call `n` answered to its server."""
        if n in self._pending and self._wire is not None:
            self._wire.send(Said(n=n), message)

    def leave(self, session: str) -> None:
        """A session of a client is over: nothing of it is left at any server."""
        if self._wire is not None:
            self._wire.send(Leave(session=session))

    def watch(self, server: str, uris: frozenset[str], owner: str = "") -> None:
        """Hear of changes of these resources of a server, and of no others, on the process of an owner or on
        the shared one; also of a runner yet to come."""
        if uris == self._watched.get((server, owner), frozenset()):
            return
        self._watched[server, owner] = uris
        if not uris:
            del self._watched[server, owner]
        if self._wire is not None:
            self._wire.send(Watch(server=server, owner=owner, uris=tuple(uris)))

    async def _connect(self) -> _Wire:
        with socket_address(self._path) as address:
            _, wire = await asyncio.get_running_loop().create_unix_connection(
                lambda: _Wire(self._receive), address
            )
        return wire

    async def _await_runner(self, deadline: float) -> None:
        seconds = min(ABSENCE, deadline - self._clock.monotonic())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._connected.wait()
        except TimeoutError as error:
            raise TurnedAway.unavailable(
                "the runner of stdio servers is not there", effect=Effect.NONE, retry_after=1
            ) from error

    def _receive(self, head: FromRunner, body: bytes) -> None:
        if isinstance(head, Event):
            self._on_event(head)
            return
        pending = self._pending.get(head.n)
        if pending is None:
            return
        if not isinstance(head, Notified):
            del self._pending[head.n]
        pending.put(head, body)

    def _disconnected(self, why: str) -> None:
        self._wire = None
        self._connected.clear()
        fault = UpstreamFault.unavailable(why, effect=Effect.POSSIBLE, retry_after=1)
        pending, self._pending = self._pending, {}
        for n, call in pending.items():
            call.put(failure(n, fault), b"")
