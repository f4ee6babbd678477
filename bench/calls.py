"""The calls of the benchmark, the same for every program under test.

A third goes to a sensitive tool, whose intent is flushed before the call is sent. Calls come in the era of
2026-07-28 and, as often, in the one before. Every call has arguments of its own, and the next of 1,000
principals makes it. `call.lua` makes the same calls for wrk.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

PRINCIPALS = 1000
SENSITIVE, HARMLESS = "medium__search", "low__search"
VERSION = "2026-07-28"
ANSWER = b"nothing found"
"""Every right answer contains it."""

META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": dict[str, object](),
}
"""What a request of the modern era says of itself."""

_META = b',"_meta":' + msgspec.json.encode(META)


def tool(number: int) -> str:
    """The tool of call `number`."""
    return SENSITIVE if number % 3 == 0 else HARMLESS


def is_modern(number: int) -> bool:
    """Whether call `number` is made in the modern era."""
    return number // 3 % 2 == 0


def request(number: int, *, port: int, tokens: Sequence[str]) -> bytes:
    """Call `number` as HTTP/1.1."""
    name = tool(number).encode()
    modern = is_modern(number)
    body = (
        b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%b",'
        b'"arguments":{"query":"revenue %d","limit":10}%b}}'
        % (number, name, number, _META if modern else b"")
    )
    era = (
        b"MCP-Protocol-Version: %b\r\nMcp-Method: tools/call\r\nMcp-Name: %b\r\n" % (VERSION.encode(), name)
        if modern
        else b""
    )
    return (
        b"POST /mcp HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        b"%bContent-Length: %d\r\n\r\n%b"
        % (port, tokens[number % len(tokens)].encode(), era, len(body), body)
    )
