"""What the gateway asks of an MCP server and what it gets back, in either era and over either transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

Notify = Callable[[str, dict[str, Any]], None]
"""Called on the event loop with (method, params) for each request-related notification, in order."""


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request to one server; the transport adds ids, the envelope of its era, and credentials."""

    method: str
    params: dict[str, Any]
    """Without protocol envelope. `_meta` holds only what may pass: progress token, trace context."""
    name: str = ""
    """Value of `Mcp-Name`: the tool's own name, where the method has one."""
    param_headers: tuple[tuple[str, str], ...] = ()
    """`Mcp-Param-*`, recomputed from the arguments that are really sent."""
    principal_key: str = ""
    """Sessions at legacy servers are never shared between principals."""
    client_capabilities: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """The client's own, cut to policy; never the gateway's."""
    deadline: float
    """Monotonic seconds."""


class UpstreamAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON-RPC answer: exactly one of `result` and `error` is set."""

    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    size: int
    """Bytes of the message on the wire."""
    era: str
    """Protocol version spoken with the server."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself: all pages of its tools, its capabilities, its instructions."""

    era: str
    server_info: dict[str, Any]
    capabilities: dict[str, Any]
    instructions: str
    tools: tuple[dict[str, Any], ...]
    ttl: float
    """Seconds after which it should be read again."""
