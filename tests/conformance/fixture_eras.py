"""What makes the fixture a server of one era, or of both."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
    JSONRPCMessage,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

ERAS = ("dual", "modern", "legacy")


class Kept(EventStore):
    """The events of every stream, so that a client can come back for what it missed."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        place = int(last_event_id) if last_event_id.isdecimal() else 0
        if not 0 < place <= len(self._events):
            return None
        stream = self._events[place - 1][0]
        for number, (of, message) in enumerate(self._events[place:], start=place + 1):
            if of == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


class Sessions:
    """The legacy sessions that were opened, all of which hear of a change."""

    def __init__(self) -> None:
        self._open: list[ServerSession] = []

    async def open(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Keep a session whose handshake is over."""
        if ctx.method == "notifications/initialized":
            self._open.append(ctx.session)
        return await call_next(ctx)

    async def tell(self, change: Callable[[ServerSession], Awaitable[None]]) -> None:
        """Tell every session; one that is over hears nothing."""
        for session in self._open:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await change(session)


def only(era: str) -> ServerMiddleware[Any]:
    """Refuse every message of the other era, as a server would that has never heard of it."""

    async def refuse(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and ctx.method != "initialize"
        if era == "legacy" and modern:
            raise MCPError(code=METHOD_NOT_FOUND, message="Method not found", data=ctx.method)
        if era == "modern" and ctx.method == "initialize":
            supported = list(MODERN_PROTOCOL_VERSIONS)
            raise MCPError(
                code=UNSUPPORTED_PROTOCOL_VERSION,
                message="this server has no handshake",
                data={"supported": supported, "requested": (ctx.params or {}).get("protocolVersion")},
            )
        if era == "modern" and not modern:
            raise MCPError(code=INVALID_REQUEST, message="the envelope is missing")
        return await call_next(ctx)

    return refuse


async def legacy_methods(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """The methods that only the legacy era has, which the SDK's server leaves to its user."""
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and ctx.method != "initialize":
        return await call_next(ctx)
    if ctx.method in ("logging/setLevel", "resources/subscribe", "resources/unsubscribe"):
        return {}
    result = await call_next(ctx)
    if ctx.method == "initialize" and isinstance(result, dict):
        offered = result["capabilities"]
        offered["logging"] = {}
        offered["resources"]["subscribe"] = True
        offered["tools"]["listChanged"] = offered["prompts"]["listChanged"] = True
    return result


def deaf_to_modern() -> None:
    """Refuse every modern message on standard input before the SDK sees it.

    Its server takes the era of a stream from the first message, and could not serve the other any more.
    """
    came, out = os.fdopen(os.dup(0), "rb"), os.dup(1)
    read, write = os.pipe()
    os.dup2(read, 0)
    os.close(read)

    def pass_on() -> None:
        with came, os.fdopen(write, "wb", buffering=0) as on:
            for line in came:
                message: dict[str, Any] = json.loads(line)
                if PROTOCOL_VERSION_META_KEY not in _meta(message):
                    on.write(line)
                elif "id" in message:
                    error = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
                    answer = {"jsonrpc": "2.0", "id": message["id"], "error": error}
                    os.write(out, json.dumps(answer).encode() + b"\n")

    threading.Thread(target=pass_on, daemon=True).start()


def _meta(message: dict[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = message.get("params") or {}
    return params.get("_meta") or {}
