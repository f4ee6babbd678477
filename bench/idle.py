"""Ten thousand streams on which nothing is said: what each holds in memory, and how soon all are cut.

Half are standing streams of legacy sessions, half are subscriptions of modern clients, each on a connection
of its own, spread over a thousand principals. They are cut as the busy ones are.
"""

from __future__ import annotations

import os
import re
import resource

import msgspec

from bench import figures, rig, streams
from bench.calls import META, VERSION

COUNT = int(os.environ.get("BENCH_IDLE", "10000"))
ROOM = {"AIRLOCK__SERVER__MAX_CONNECTIONS": str(COUNT + 200)}
LEGACY = "2025-11-25"

_HEAD = b"%b /mcp HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Bearer %b\r\n"
_BOTH = b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
_SESSION = re.compile(rb"(?im)^mcp-session-id: (\S+)\r$")


def measure() -> figures.Streams:
    """All of it, on a gateway of its own. Raises `RuntimeError` where a stream is refused or stays."""
    _allow_files(COUNT + 200)
    with rig.running(**ROOM) as usual:
        tokens, port = rig.read_tokens(usual.tokens), usual.gateway.port
        each = [(number, tokens[number // 2 % len(tokens)]) for number in range(COUNT)]
        return streams.cut(usual, [stream(port, number, token) for number, token in each])


def stream(port: int, number: int, token: str) -> streams.Stream:
    """An idle stream, of either era in turn."""
    return Standing(port, token) if number % 2 else subscription(port, token)


def _allow_files(count: int) -> None:
    """Let this process open so many. Raises `RuntimeError` where the system does not."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < count:
        raise RuntimeError(f"{COUNT} streams need {count} open files, the system allows {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def subscription(port: int, token: str) -> streams.Stream:
    """`subscriptions/listen`."""
    params = {"notifications": {"toolsListChanged": True}, "_meta": META}
    body = _message("subscriptions/listen", params)
    lines = b"MCP-Protocol-Version: %b\r\nMcp-Method: subscriptions/listen\r\n" % VERSION.encode()
    head = _HEAD % (b"POST", port, token.encode()) + _BOTH + lines
    return streams.Stream(token, _whole(head, body), b"notifications/subscriptions/acknowledged")


class Standing(streams.Stream):
    """`GET` in a session of its own, opened on the same connection."""

    def __init__(self, port: int, token: str) -> None:
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
        head = _HEAD % (b"POST", port, token.encode()) + _BOTH
        super().__init__(token, _whole(head, _message("initialize", hello)), b"id: ")
        self._get = _HEAD % (b"GET", port, token.encode()) + b"Accept: text/event-stream\r\n"

    def greet(self) -> None:
        found = _SESSION.search(self.read(b'"jsonrpc"'))
        if found is None:
            raise RuntimeError("the answer names no session")
        lines = b"MCP-Protocol-Version: %b\r\nMcp-Session-Id: %b\r\n\r\n"
        self.socket.sendall(self._get + lines % (LEGACY.encode(), found[1]))


def _message(method: str, params: object) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def _whole(head: bytes, body: bytes) -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
