"""Connections that stay open, one to each worker of a gateway, and a server whose calls never end."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

import msgspec

from tests.system.deployment import MODERN, Deployment, envelope, until
from tests.system.recorder import Recorder, definition


class Endless(Recorder):
    """A server with `echo`, and with tools `watch_N` that report progress once and then say nothing more."""

    def __init__(self, watches: int) -> None:
        names = ["echo", *(f"watch_{n}" for n in range(watches))]
        super().__init__(tools={name: definition(name) for name in names})

    def answer(self, http: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        if message.get("method") != "tools/call" or message["params"]["name"] == "echo":
            super().answer(http, message)
            return
        http.send_response(200)
        http.send_header("content-type", "text/event-stream")
        http.send_header("connection", "close")
        http.end_headers()
        token = message["params"]["_meta"]["progressToken"]
        params = {"progressToken": token, "progress": 1}
        event = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        http.wfile.write(b"event: message\ndata: " + json.dumps(event).encode() + b"\n\n")
        http.wfile.flush()
        self._hang(http)


class Said(msgspec.Struct, frozen=True):
    """The end of one exchange: status, its last message, and when that was read in monotonic seconds."""

    status: int
    message: dict[str, Any]
    at: float

    @property
    def refusal(self) -> dict[str, Any]:
        """The refusal, in whichever form this one has."""
        if "result" in self.message:
            return self.message["result"]["_meta"]["dev.airlock/refusal"]
        return self.message["error"].get("data") or {"code": self.message["error"]["code"]}


class Line:
    """One connection to one worker. A call on it is a stream until it ends."""

    def __init__(self, gateway: Deployment, worker: int) -> None:
        self._gateway = gateway
        self._worker = worker
        self._connection = self._opened()
        self._stream: http.client.HTTPResponse | None = None

    def _opened(self) -> http.client.HTTPConnection:
        """A connection that this worker has taken. Who takes one is chance, so several are tried."""
        tried: list[http.client.HTTPConnection] = []

        def taken() -> http.client.HTTPConnection | None:
            connection = http.client.HTTPConnection("127.0.0.1", self._gateway.port, timeout=60)
            tried.append(connection)
            connection.request("GET", "/live")
            connection.getresponse().read()
            return connection if holds(self._worker, self._gateway.port, connection) else None

        found = until(taken, within=30, what=f"a connection to worker {self._worker}")
        for other in tried:
            if other is not found:
                other.close()
        return found

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """The gateway may have closed a connection that was idle for seconds: then there is another."""
        with suppress(http.client.RemoteDisconnected, ConnectionError):
            self._connection.request("POST", "/mcp", body, dict(headers))
            return self._connection.getresponse()
        self._connection.close()
        self._connection = self._opened()
        self._connection.request("POST", "/mcp", body, dict(headers))
        return self._connection.getresponse()

    def open(self, tool: str, token: str, *, modern: bool, headers: Mapping[str, str] | None = None) -> None:
        """Start a call that does not end by itself; returns when its stream is open."""
        self._stream = self._ask(*_call(tool, token, modern=modern, more=headers))
        assert self._stream.status == 200, self._stream.read()
        assert b"notifications/progress" in _event(self._stream)

    def end(self) -> Said:
        """The last message of the open call, once the stream has ended."""
        assert self._stream is not None
        last = b""
        while event := _event(self._stream):
            last = event
        return Said(200, json.loads(last), time.monotonic())

    def call(
        self, tool: str, token: str, *, modern: bool = True, headers: Mapping[str, str] | None = None
    ) -> Said:
        """One call that is answered."""
        response = self._ask(*_call(tool, token, modern=modern, more=headers))
        body = response.read()
        if response.getheader("content-type") == "text/event-stream":
            body = body.partition(b"data: ")[2]
        return Said(response.status, json.loads(body) if body else {}, time.monotonic())

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._connection.close()


class Lines:
    """One line to each worker of a gateway."""

    def __init__(self, gateway: Deployment) -> None:
        self.each = [Line(gateway, pid) for pid in gateway.children("airlock.worker")]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self.each:
            line.close()


def _call(
    tool: str, token: str, *, modern: bool, more: Mapping[str, str] | None
) -> tuple[bytes, dict[str, str]]:
    meta: dict[str, Any] = {"progressToken": "mine"}
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    if modern:
        meta |= envelope()
        headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    params = {"name": tool, "arguments": {}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(message).encode(), headers | dict(more or {})


def _event(stream: http.client.HTTPResponse) -> bytes:
    """The data of the next event; empty at the end of the stream."""
    while line := stream.readline():
        if line.startswith(b"data: "):
            return line.removeprefix(b"data: ")
    return b""


def holds(pid: int, port: int, connection: http.client.HTTPConnection) -> bool:
    """Whether this process has the other end of a connection to `port` of this machine."""
    assert connection.sock is not None
    ours = f":{connection.sock.getsockname()[1]:04X}"
    inodes = {
        fields[9]
        for fields in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[1].endswith(f":{port:04X}") and fields[2].endswith(ours)
    }
    with suppress(OSError):
        return any(_inode(link) in inodes for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _inode(link: Path) -> str:
    with suppress(OSError):
        return os.readlink(link).removeprefix("socket:[").removesuffix("]")
    return ""
