"""A thousand tool calls that are under way at once: what each holds in memory, and how soon all can be cut.

Each is a stream of its own connection and principal that has had its first event. Then their tenant is
isolated by one lease, and each is timed until its last byte. They are spread over servers, because one is
asked 64 things at a time at most.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import httptools
import msgspec
import uvloop

from bench import figures, rig
from bench.calls import META

COUNT = int(os.environ.get("BENCH_STREAMS", "1000"))
SERVERS = tuple(f"s{number:02}" for number in range(16))
PATIENCE = 240.0
LEFT_WITHIN = 10.0
"""Seconds for the worker to let go of what it held."""
AT_ONCE = 50
"""Connections that are opened side by side: what is measured is holding them, not a burst."""

ROOM = {"AIRLOCK__SERVER__MAX_CONNECTIONS": str(COUNT + 100)}
"""What the gateway needs beyond its defaults to hold them."""


def measure() -> figures.Streams:
    """All of it, on a gateway of its own. Raises `RuntimeError` where a stream is refused or stays."""
    with rig.running(SERVERS, **ROOM) as usual:
        tokens = rig.read_tokens(usual.tokens)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(usual, tokens))


async def _measure(usual: rig.Rig, tokens: Sequence[str]) -> figures.Streams:
    port = usual.gateway.port
    streams = [Stream(_request(port, number, tokens[number])) for number in range(COUNT)]
    return await cut(usual, streams)


async def cut(usual: rig.Rig, streams: Sequence[Stream]) -> figures.Streams:
    """Open them, isolate their tenant, wait for their ends. Raises `RuntimeError` where one is refused or
    stays, or where the worker holds more descriptors afterwards than before."""
    worker, count = usual.pids["worker"], len(streams)
    files, before, start = descriptors(worker), resident(worker), time.monotonic()
    gate = asyncio.Semaphore(AT_ONCE)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(_open(gate, stream, usual.gateway.port))
    opened, held = time.monotonic() - start, resident(worker)
    try:
        with _knocking(usual.gateway.port) as waits:
            order = time.monotonic()
            status = await asyncio.to_thread(_isolate, usual)
            if status not in {HTTPStatus.OK, HTTPStatus.MULTI_STATUS}:  # 207: some are still being cut
                raise RuntimeError(f"the lease was answered {status}")
            async with asyncio.timeout(PATIENCE):
                ends = [await stream.ended for stream in streams]
    except TimeoutError:
        raise RuntimeError(f"{sum(not one.ended.done() for one in streams)} streams were not cut") from None
    finally:
        for stream in streams:
            stream.close()
    await _let_go(worker, files)
    return figures.Streams(
        count=count,
        kib_each=(held - before) / count / 1024,
        opened_s=opened,
        cut=figures.Latency.of([(end - order) * 1000 for end in ends]),
        stalled_ms=max(waits) * 1000,
    )


async def _open(gate: asyncio.Semaphore, stream: Stream, port: int) -> None:
    async with gate:
        await stream.open(port)


@contextmanager
def _knocking(port: int) -> Generator[list[float]]:
    """Ask the worker for a sign of life, again and again, in a thread; how many seconds each took."""
    over, waits = threading.Event(), [0.0]

    def work() -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            while not over.wait(0.005):
                start = time.monotonic()
                connection.request("GET", "/live")
                connection.getresponse().read()
                waits.append(time.monotonic() - start)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


async def _let_go(pid: int, before: int) -> None:
    end = time.monotonic() + LEFT_WITHIN
    while (now := descriptors(pid)) > before:
        if time.monotonic() > end:
            raise RuntimeError(f"the worker holds {now} descriptors, {before} before the streams")
        await asyncio.sleep(0.05)


def descriptors(pid: int) -> int:
    """Open files, sockets and pipes of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds alone."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel tells no private memory")


def _isolate(usual: rig.Rig) -> int:
    gateway = usual.gateway
    order = {"action": "tenant.isolate", "selector": {"tenant": "acme"}, "reason": "bench", "ttl": "5m"}
    token = gateway.token("operator", tenant="house", roles=["admin"])
    admin = {"Authorization": f"Bearer {token}"}
    return gateway.send("POST", "/api/v1/leases", msgspec.json.encode(order), admin).status


class Stream(asyncio.Protocol):
    """One request whose answer does not end by itself. It has begun when `first` was heard."""

    def __init__(self, request: bytes, first: bytes = b"notifications/progress") -> None:
        loop = asyncio.get_running_loop()
        self._request, self._first = request, first
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[float] = loop.create_future()

    async def open(self, port: int) -> None:
        """Send the request and wait for its first event. Raises `RuntimeError` where it is refused."""
        await self.connect(port)
        self.send(self._request)
        await self.begun

    async def connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", port)

    def send(self, request: bytes) -> None:
        """One request on the connection, and a parser for its answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self.begun.done():
            return
        if self._first in body:
            self.begun.set_result(None)
        elif not body.startswith(b":"):  # a comment keeps the stream warm
            self.begun.set_exception(RuntimeError(f"no stream: {body[:200]!r}"))

    def on_message_complete(self) -> None:
        self._over()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over()

    def _over(self) -> None:
        if not self.begun.done():
            self.begun.set_exception(RuntimeError("the connection was closed"))
        if not self.ended.done():
            self.ended.set_result(time.monotonic())

    def close(self) -> None:
        self._transport.close()


def _request(port: int, number: int, token: str) -> bytes:
    tool = f"{SERVERS[number % len(SERVERS)]}__watch"
    params = {"name": tool, "arguments": {}, "_meta": {**META, "progressToken": "t"}}
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    return (
        b"POST /mcp HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: %b\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (port, token.encode(), tool.encode(), len(body), body)
    )
