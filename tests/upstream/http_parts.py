"""A real HTTP server that does exactly what a test says, a small MCP server on it, and a clock by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
import uvloop

from airlock.core import log
from airlock.core.clock import SYSTEM
from airlock.core.config import ServerEntry, UpstreamTls
from airlock.model.upstream import UpstreamRequest
from airlock.upstream.http import HttpUpstream

if TYPE_CHECKING:
    import ssl

    from airlock.core.clock import Clock
    from airlock.upstream.credentials import Credential
    from airlock.upstream.pool import Resolve

T = TypeVar("T")


def run(
    work: Coroutine[Any, Any, T],
    *,
    loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> T:
    """Run to the end, within a bound, on the loop of production or another one."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(asyncio.wait_for(work, 20))


async def until(condition: Callable[[], bool], bound: float = 5.0) -> None:
    """Wait for a condition, not for a time."""
    for _ in range(int(bound / 0.002)):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not happen in time")


class HandClock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Seen(msgspec.Struct, frozen=True):
    """One request as it stood on the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body else {}

    @property
    def rpc(self) -> str:
        """The JSON-RPC method; for DELETE and answers a word of our own."""
        return self.message.get("method", "answer") if self.body else self.method


Handler = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Records every request, then lets the handler write whatever it likes."""

    def __init__(self, handler: Handler, *, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.opened = 0
        self.closed = 0
        self.handler = handler
        self._tls = tls
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await until(lambda: self.closed == self.opened)

    def stop_listening(self) -> None:
        """Connections stay, new ones are refused."""
        self._server.close()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/mcp"

    def rpcs(self) -> list[str]:
        return [seen.rpc for seen in self.seen]

    def find(self, rpc: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.rpc == rpc]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        number = self.opened
        self.writers.append(writer)
        try:
            while True:
                seen = await _read(reader, number)
                self.seen.append(seen)
                await self.handler(seen, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader, number: int) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body, number)


def http(status: int, body: bytes = b"", *fields: str, kind: str = "application/json") -> bytes:
    """A whole answer."""
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields]
    if kind:
        head.append(f"Content-Type: {kind}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def stream_head(*fields: str) -> bytes:
    head = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(message: object) -> bytes:
    return chunk(b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n")


END = b"0\r\n\r\n"


def result(number: object, **content: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": content}


def error(number: object, code: int, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": "no", **more}}


def as_json(message: object, status: int = 200, *fields: str) -> bytes:
    return http(status, json.dumps(message).encode(), *fields)


class McpServer:
    """Both eras, one tool. `on[method]` replaces what it does for a method."""

    def __init__(self, *, era: str, session_ids: bool = True) -> None:
        self.era = era
        self.on: dict[str, Handler] = {}
        self.tools: list[dict[str, Any]] = [{"name": "add", "inputSchema": {"type": "object"}}]
        self.alive: set[str] = set()
        self._session_ids = session_ids
        self._count = 0

    async def __call__(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.rpc in self.on:
            await self.on[seen.rpc](seen, writer)
            return
        writer.write(self._modern(seen) if self.era == "modern" else self._legacy(seen))

    def _modern(self, seen: Seen) -> bytes:
        number = seen.message.get("id")
        if "io.modelcontextprotocol/protocolVersion" not in seen.message.get("params", {}).get("_meta", {}):
            return as_json(error(number, -32602), 400)
        if seen.rpc == "server/discover":
            return as_json(
                result(
                    number,
                    supportedVersions=["2026-07-28"],
                    capabilities={"tools": {}},
                    instructions="Be kind.",
                    resultType="complete",
                    _meta={"io.modelcontextprotocol/serverInfo": {"name": "fake", "version": "1"}},
                )
            )
        return self._common(seen)

    def _legacy(self, seen: Seen) -> bytes:
        session = seen.headers.get("mcp-session-id", "")
        if seen.method == "DELETE":
            self.alive.discard(session)
            return http(204, kind="")
        if seen.rpc == "initialize":
            return self._initialize(seen)
        if self._session_ids and session not in self.alive:
            return as_json(error(None, -32600), 404 if session else 400)
        if "id" not in seen.message or "method" not in seen.message:
            return http(202, kind="")
        return self._common(seen)

    def _initialize(self, seen: Seen) -> bytes:
        fields: list[str] = []
        if self._session_ids:
            self._count += 1
            self.alive.add(f"s-{self._count}")
            fields.append(f"Mcp-Session-Id: s-{self._count}")
        answer = result(
            seen.message["id"],
            protocolVersion="2025-06-18",
            capabilities={"tools": {}},
            serverInfo={"name": "fake", "version": "1"},
            instructions="Be kind.",
        )
        return as_json(answer, 200, *fields)

    def _common(self, seen: Seen) -> bytes:
        number = seen.message["id"]
        if seen.rpc == "tools/list":
            return as_json(result(number, tools=self.tools, ttlMs=60000))
        if seen.rpc == "tools/call":
            return as_json(result(number, content=[{"type": "text", "text": "3"}]))
        return as_json(error(number, -32601), 404 if self.era == "modern" else 200)


def writes(data: bytes) -> Handler:
    """A handler that always answers the same bytes, with `@` for the id of the request."""

    async def handler(seen: Seen, writer: asyncio.StreamWriter) -> None:
        body = data.replace(b"@", json.dumps(seen.message.get("id")).encode())
        writer.write(body)

    return handler


async def silence(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing."""


def upstream(
    url: str,
    *,
    era: str = "auto",
    credential: Credential | None = None,
    clock: Clock = SYSTEM,
    tls: UpstreamTls | None = None,
    first_byte: float = 5.0,
    resolve: Resolve | None = None,
    **more: Any,
) -> HttpUpstream:
    entry = msgspec.convert(
        {"name": "fake", "transport": "http", "url": url, "era": era, "first_byte_timeout": first_byte},
        ServerEntry,
    )
    entry = msgspec.structs.replace(entry, tls=tls)
    more |= {} if resolve is None else {"resolve": resolve}
    return HttpUpstream(entry=entry, credential=credential, clock=clock, logger=log.get("upstream"), **more)


def call(name: str = "add", *, principal: str = "p", within: float = 5.0, **more: Any) -> UpstreamRequest:
    params = {"name": name, "arguments": {"a": 1}}
    return UpstreamRequest(
        method="tools/call",
        params=more.pop("params", params),
        name=name,
        principal_key=principal,
        deadline=SYSTEM.monotonic() + within,
        **more,
    )
