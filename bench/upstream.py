"""A fast MCP server for measurements: HTTP/1.1 with httptools over uvloop, two tools, no logic.

`search` answers at once. `watch` answers with an event stream that tells of progress and does not end. Both
eras are spoken. It stands behind everything that is compared, so its cost is on all sides.
On `/NAME/mcp` it is another server: one with 40 tools of usual size, which are only listed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import httptools
import msgspec
import uvloop

VERSION = "2026-07-28"
LEGACY = "2025-11-25"
TOOLS = [
    {
        "name": "search",
        "description": "Finds documents.",
        "inputSchema": {
            "type": "object",
            "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["query"],
        },
    },
    {"name": "watch", "description": "Never ends.", "inputSchema": {"type": "object"}},
]
ANSWERS: dict[str, object] = {
    "initialize": {
        "protocolVersion": LEGACY, "capabilities": {"tools": {}},
        "serverInfo": {"name": "bench", "version": "1"},
    },
    "ping": {},
    "server/discover": {
        "resultType": "complete", "supportedVersions": [VERSION], "capabilities": {"tools": {}},
        "ttlMs": 300000, "cacheScope": "private",
    },
    "tools/list": {"resultType": "complete", "tools": TOOLS, "ttlMs": 300000, "cacheScope": "private"},
    "tools/call": {"resultType": "complete", "content": [{"type": "text", "text": "nothing found " * 8}]},
}  # fmt: skip


MANY = 40
BEAT = 0.25
"""Seconds between two words of progress."""


def many(server: str) -> list[dict[str, Any]]:
    """The tools of the server of this name, about 800 bytes each."""
    return [_wordy(f"{server}_task_{number:02}") for number in range(MANY)]


def _wordy(name: str) -> dict[str, Any]:
    text = f"What {name} takes here, in a sentence as tools have it, with an example where one helps."
    kinds = {"project": "string", "query": "string", "limit": "integer", "archived": "boolean"}
    return {
        "name": name,
        "description": f"{name} finds, changes or files one thing. {text}",
        "inputSchema": {
            "type": "object",
            "properties": {one: {"type": kind, "description": text} for one, kind in kinds.items()},
            "required": ["project", "query"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True},
    }


class Message(msgspec.Struct):
    """What is needed of a request."""

    method: str
    id: int | str | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


_decode = msgspec.json.Decoder(Message).decode


class Server(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.path = b""

    def on_url(self, url: bytes) -> None:
        self.path = url

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if self.parser.get_method() != b"POST":
            self._answer(b"405 Method Not Allowed", b"")
            return
        message = _decode(body)
        if message.id is None:
            self._answer(b"202 Accepted", b"")
        elif message.method == "tools/call" and message.params.get("name") == "watch":
            self._watch(message.params)
        elif message.method not in ANSWERS:
            problem = {"code": -32601, "message": "no such method"}
            self._answer(b"200 OK", _encode({"jsonrpc": "2.0", "id": message.id, "error": problem}))
        else:
            result = self._result(message.method)
            self._answer(b"200 OK", _encode({"jsonrpc": "2.0", "id": message.id, "result": result}))

    def _result(self, method: str) -> object:
        if method != "tools/list" or self.path == b"/mcp":
            return ANSWERS[method]
        return {"resultType": "complete", "tools": many(self.path.split(b"/")[1].decode())}

    def _answer(self, status: bytes, content: bytes) -> None:
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % (status, len(content)) + content)

    def _watch(self, params: dict[str, Any]) -> None:
        token = params.get("_meta", {}).get("progressToken")
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self._tell(token, 1)

    def _tell(self, token: object, progress: int) -> None:
        """Progress, again and again until the peer has gone."""
        if self.transport.is_closing():
            return
        params = {"progressToken": token, "progress": progress}
        note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        event = b"data: %b\n\n" % _encode(note)
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        asyncio.get_running_loop().call_later(BEAT, self._tell, token, progress + 1)


_encode = msgspec.json.encode


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
