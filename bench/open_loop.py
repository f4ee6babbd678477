"""Calls at a rate that does not wait for answers, and how long each took from the moment it was due.

A generator that sends the next call only after an answer leaves out exactly the calls that a stalled server
would have kept waiting. Here arrivals are fixed before the first call (Poisson, from a seed); a call that
finds no free connection waits for one, and its waiting counts. All latencies are kept: percentiles are exact.
"""

from __future__ import annotations

import asyncio
import gc
import random
import selectors
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

import httptools
import msgspec

CONNECTIONS = 64
PATIENCE = 10.0
"""Seconds after the last arrival in which the last answer has to come."""


class Outcome(msgspec.Struct):
    """What came of one run; seconds."""

    latencies: list[float] = msgspec.field(default_factory=list[float])
    """From the moment a call was due to the end of its answer."""
    late: list[float] = msgspec.field(default_factory=list[float])
    """By how much the generator itself came too late: beyond the latencies it must stay small."""
    wrong: list[bytes] = msgspec.field(default_factory=list[bytes])
    """Answers that were not the right one, the first few."""


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """When calls are due, in seconds from the start: a Poisson process of `rate` a second."""
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    due: list[float] = []
    moment = chance.expovariate(rate)
    while moment < seconds:
        due.append(moment)
        moment += chance.expovariate(rate)
    return due


def drive(
    port: int,
    request: Callable[[int], bytes],
    *,
    due: Sequence[float],
    answer: bytes,
    connections: int = CONNECTIONS,
) -> Outcome:
    """Send `request(n)` when `due[n]` has come. Raises `RuntimeError` where an answer never comes."""
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=_precise_loop) as runner:
            return runner.run(
                _drive(port, [request(number) for number in range(len(due))], due, answer, connections)
            )
    finally:
        gc.enable()


def _precise_loop() -> asyncio.AbstractEventLoop:
    """epoll and uvloop wait in whole milliseconds, as long as a call takes; select waits in microseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _drive(
    port: int, requests: Sequence[bytes], due: Sequence[float], answer: bytes, connections: int
) -> Outcome:
    load = _Load(answer)
    await load.open(port, connections)
    try:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for moment, request in zip(due, requests, strict=True):
            intended = start + moment
            if (ahead := intended - loop.time()) > 0:
                await asyncio.sleep(ahead)
            load.outcome.late.append(loop.time() - intended)
            load.submit(request, intended)
        await load.finish(len(due))
    finally:
        load.close()
    return load.outcome


class _Load:
    """The connections, in turn, and the calls that wait for one."""

    def __init__(self, answer: bytes) -> None:
        self.outcome = Outcome()
        self.answer = answer
        self.lost = False
        self._all: list[_Connection] = []
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._closing = False
        self._progress = asyncio.Event()

    async def open(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, protocol = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port)
            self._all.append(protocol)
            self._free.append(protocol)

    def submit(self, request: bytes, intended: float) -> None:
        if self._free:
            self._free.popleft().send(request, intended)
        else:
            self._waiting.append((request, intended))

    def done(self, connection: _Connection, latency: float, status: int, body: bytes) -> None:
        self.outcome.latencies.append(latency)
        if (status != 200 or self.answer not in body) and len(self.outcome.wrong) < 3:
            self.outcome.wrong.append(b"%d %b" % (status, body[:300]))
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._free.append(connection)
        self._progress.set()

    def gone(self) -> None:
        self.lost = self.lost or not self._closing
        self._progress.set()

    async def finish(self, count: int) -> None:
        """Wait for all answers."""
        try:
            async with asyncio.timeout(PATIENCE):
                while len(self.outcome.latencies) < count and not self.lost:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            raise RuntimeError(f"{count - len(self.outcome.latencies)} calls were never answered") from None
        if self.lost:
            raise RuntimeError("a connection was closed by the other side")

    def close(self) -> None:
        self._closing = True
        for connection in self._all:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection with at most one call under way."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._intended = 0.0
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._now = asyncio.get_running_loop().time

    def send(self, request: bytes, intended: float) -> None:
        self._intended = intended
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._load.done(self, self._now() - self._intended, self._parser.get_status_code(), self._body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.gone()

    def close(self) -> None:
        self._transport.close()
