"""A fast MCP server for measurements: HTTP/1.1 with httptools over uvloop, one tool, no logic.

It answers `server/discover`, `tools/list` and `tools/call` of the modern era. It stands behind both the
gateway and nginx, so its cost is on both sides of every ratio.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import msgspec
import uvloop

VERSION = "2026-07-28"
TOOL = {
    "name": "search",
    "description": "Finds documents.",
    "inputSchema": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["query"],
    },
}
ANSWERS: dict[str, object] = {
    "server/discover": {
        "resultType": "complete", "supportedVersions": [VERSION], "capabilities": {"tools": {}},
        "ttlMs": 300000, "cacheScope": "private",
    },
    "tools/list": {"resultType": "complete", "tools": [TOOL], "ttlMs": 300000, "cacheScope": "private"},
    "tools/call": {"resultType": "complete", "content": [{"type": "text", "text": "nothing found " * 8}]},
}  # fmt: skip


class Message(msgspec.Struct):
    """What is needed of a request."""

    method: str
    id: int | str | None = None


_decode = msgspec.json.Decoder(Message).decode


class Server(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        message = _decode(self.body)
        self.body = b""
        answer = {"jsonrpc": "2.0", "id": message.id, "result": ANSWERS[message.method]}
        content = msgspec.json.encode(answer)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
            content
        )
        self.transport.write(head + content)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
