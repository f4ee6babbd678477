"""What the gateway asks of an MCP server and what it gets back, in either era and over either transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

Notify = Callable[[str, dict[str, Any]], None]
"""Called on the event loop with (method, params) for each request-related notification, in order."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a client said to a request of a server: exactly one of `result` and `error` is set."""

    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


Ask = Callable[[str, dict[str, Any]], Awaitable[Answered]]
"""Asks the client of a call: (method, params) as the server wrote them. A refusal is an answer with an error.
Cancelling it withdraws the request."""


OF_PRINCIPAL = "\0"
"""What a server says on the process of one principal is told in its name: this and the principal's key stand
where a session of a legacy client would."""


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request to one server; the transport adds ids, the envelope of its era, and credentials."""

    method: str
    params: dict[str, Any]
    """Without protocol envelope. `_meta` holds only what may pass: progress token, trace context."""
    name: str = ""
    """Value of `Mcp-Name`: the server's own name or URI, where the method has one."""
    param_headers: tuple[tuple[str, str], ...] = ()
    """`Mcp-Param-*`, recomputed from the arguments that are really sent."""
    principal_key: str = ""
    """Sessions at legacy servers are never shared between principals,"""
    session: str = ""
    """nor between sessions of legacy clients (the random part of the id); empty without one."""
    client_capabilities: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """The client's own, cut to policy; never the gateway's."""
    log_level: str = ""
    """The least level of log messages that are wanted of this request; empty: none."""
    deadline: float
    """Monotonic seconds."""


class Park(msgspec.Struct, frozen=True, kw_only=True):
    """A call that waits for answers of its client."""

    id: str
    nonce: str
    """Counts for one round."""
    lifetime: int
    """Seconds for which it waits."""


class UpstreamAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON-RPC answer: exactly one of `result` and `error` is set."""

    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    size: int
    """Bytes of the message on the wire."""
    era: str
    """Protocol version spoken with the server."""
    park: Park | None = None
    """Behind a question that the gateway asks for a server that goes on waiting."""


KEEP_MS = 30_000
"""For how long a list may be kept whose server says nothing of it, milliseconds."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself: all pages of all its lists, its capabilities, its instructions."""

    era: str
    server_info: dict[str, Any]
    capabilities: dict[str, Any]
    instructions: str
    tools: tuple[dict[str, Any], ...]
    prompts: tuple[dict[str, Any], ...] = ()
    resources: tuple[dict[str, Any], ...] = ()
    templates: tuple[dict[str, Any], ...] = ()
    left_out: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """List method -> why what it gives could not be used. Tools are never left out: they fail the whole."""
    ttl: float
    """Seconds after which it should be read again."""
    keep_ms: int = KEEP_MS
    """Milliseconds for which its lists may be kept, as it says."""
