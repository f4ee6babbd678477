"""Ten thousand streams on which nothing is said: what each holds in memory, and how soon all are cut.

Half are standing streams of legacy sessions, half are subscriptions of modern clients, each on a connection
of its own; a principal has as many as it may have. Then their tenant is isolated by one lease.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Sequence

import msgspec
import uvloop

from bench import figures, rig, streams
from bench.calls import META, VERSION

COUNT = int(os.environ.get("BENCH_IDLE", "10000"))
ROOM = {"AIRLOCK__SERVER__MAX_CONNECTIONS": str(COUNT + 200)}
LEGACY = "2025-11-25"

_HEAD = b"%b /mcp HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Bearer %b\r\n"
_BOTH = b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"


def measure() -> figures.Streams:
    """All of it, on a gateway of its own. Raises `RuntimeError` where a stream is refused or stays."""
    _allow_files(COUNT + 200)
    with rig.running(**ROOM) as usual:
        tokens = rig.read_tokens(usual.tokens)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_measure(usual, tokens))


async def _measure(usual: rig.Rig, tokens: Sequence[str]) -> figures.Streams:
    port = usual.gateway.port
    return await streams.cut(usual, [stream(port, number, tokens) for number in range(COUNT)])


def stream(port: int, number: int, tokens: Sequence[str]) -> streams.Stream:
    """An idle stream, of either era in turn."""
    token = tokens[number // 2 % len(tokens)].encode()
    return Standing(port, token) if number % 2 else subscription(port, token)


def _allow_files(count: int) -> None:
    """Let this process open so many. Raises `RuntimeError` where the system does not."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < count:
        raise RuntimeError(f"{COUNT} streams need {count} open files, the system allows {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def subscription(port: int, token: bytes) -> streams.Stream:
    """`subscriptions/listen`."""
    params = {"notifications": {"toolsListChanged": True}, "_meta": META}
    body = _message("subscriptions/listen", params)
    lines = b"MCP-Protocol-Version: %b\r\nMcp-Method: subscriptions/listen\r\n" % VERSION.encode()
    head = _HEAD % (b"POST", port, token) + _BOTH + lines
    return streams.Stream(_whole(head, body), b"notifications/subscriptions/acknowledged")


class Standing(streams.Stream):
    """`GET` in a session of its own, opened on the same connection."""

    def __init__(self, port: int, token: bytes) -> None:
        self._head = _HEAD % (b"GET", port, token)
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
        opening = _HEAD % (b"POST", port, token) + _BOTH
        super().__init__(_whole(opening, _message("initialize", hello)), b"id: ")
        self._session: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._greeted, self._named, self._answer = False, b"", b""

    async def open(self, port: int) -> None:
        await self.connect(port)
        self.send(self._request)
        lines = b"Accept: text/event-stream\r\nMCP-Protocol-Version: %b\r\nMcp-Session-Id: %b\r\n\r\n"
        session = await self._session
        self._greeted = True
        self.send(self._head + lines % (LEGACY.encode(), session))
        await self.begun

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"mcp-session-id":
            self._named = value

    def on_body(self, body: bytes) -> None:
        if self._greeted:
            super().on_body(body)
        self._answer = body

    def on_message_complete(self) -> None:
        if self._greeted:
            super().on_message_complete()
        elif self._named:
            self._session.set_result(self._named)
        elif not self._session.done():
            self._session.set_exception(RuntimeError(f"no session: {self._answer!r}"))


def _message(method: str, params: object) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def _whole(head: bytes, body: bytes) -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
