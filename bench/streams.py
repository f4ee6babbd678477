"""A thousand tool calls that are under way at once: what each holds in memory, and how soon all can be cut.

Each is a stream of its own connection and principal that has had its first event. Then their tenant is
isolated by one lease, and each is timed until its last byte. They are spread over servers, because one is
asked 64 things at a time at most.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import httptools
import msgspec
import uvloop

from bench import figures, rig
from bench.calls import META

COUNT = int(os.environ.get("BENCH_STREAMS", "1000"))
SERVERS = tuple(f"s{number:02}" for number in range(16))
PATIENCE = 60.0
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
    worker = usual.pids["worker"]
    streams = [Stream() for _ in range(COUNT)]
    before, start = resident(worker), time.monotonic()
    gate = asyncio.Semaphore(AT_ONCE)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for number, stream in enumerate(streams):
            request = _request(usual.gateway.port, number, tokens[number])
            group.create_task(_open(gate, stream, usual.gateway.port, request))
    opened, held = time.monotonic() - start, resident(worker)
    order = time.monotonic()
    status = await asyncio.to_thread(_isolate, usual)
    if status not in {HTTPStatus.OK, HTTPStatus.MULTI_STATUS}:  # 207: some are still being cut
        raise RuntimeError(f"the lease was answered {status}")
    try:
        async with asyncio.timeout(PATIENCE):
            ends = [await stream.ended for stream in streams]
    except TimeoutError:
        raise RuntimeError(f"{sum(not one.ended.done() for one in streams)} streams were not cut") from None
    finally:
        for stream in streams:
            stream.close()
    return figures.Streams(
        count=COUNT,
        kib_each=(held - before) / COUNT / 1024,
        opened_s=opened,
        cut=figures.Latency.of([(end - order) * 1000 for end in ends]),
    )


async def _open(gate: asyncio.Semaphore, stream: Stream, port: int, request: bytes) -> None:
    async with gate:
        await stream.open(port, request)


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
    """One call that does not end by itself."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[float] = loop.create_future()
        self._parser = httptools.HttpResponseParser(self)

    async def open(self, port: int, request: bytes) -> None:
        """Send the call and wait for its first event. Raises `RuntimeError` where it is refused."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", port)
        self._transport.write(request)
        await self.begun

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self.begun.done():
            return
        if b"notifications/progress" in body:
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
