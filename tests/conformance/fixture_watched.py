"""The fixture's tools whose course a caller watches: a resource that changes, a call that is cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.session import ServerSession

from tests.conformance.fixture_asks import Call, is_modern

LONG = 120.0
"""Seconds that a call takes which nobody cancels."""
HEARD = 10.0
"""Seconds within which a cancel has to arrive, once somebody asks about it."""


class Subscribers:
    """The legacy sessions that want to hear of a resource."""

    def __init__(self) -> None:
        self._of: dict[str, list[ServerSession]] = {}

    async def keep(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Follow what is subscribed, and leave the answer to others."""
        uri = (ctx.params or {}).get("uri")
        if ctx.method in ("resources/subscribe", "resources/unsubscribe") and isinstance(uri, str):
            kept = self._of.setdefault(uri, [])
            if ctx.session in kept:
                kept.remove(ctx.session)
            if ctx.method == "resources/subscribe":
                kept.append(ctx.session)
        return await call_next(ctx)

    async def tell(self, uri: str) -> None:
        """Tell whoever subscribed; a session that is over hears nothing."""
        for session in self._of.get(uri, []):
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await session.send_resource_updated(uri)


def add(server: MCPServer[Any], subscribers: Subscribers) -> None:
    """Give a server the tools of watching."""
    cancelled: dict[str, asyncio.Event] = {}

    async def test_wait(label: str, call: Call) -> str:
        """Reports progress once, and then takes long."""
        await call.report_progress(0, 1)
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.setdefault(label, asyncio.Event()).set()
            raise
        return "Nobody cancelled this call."

    async def test_cancelled(label: str) -> str:
        """Whether the waiting call of this label was cancelled."""
        try:
            await asyncio.wait_for(cancelled.setdefault(label, asyncio.Event()).wait(), HEARD)
        except TimeoutError:
            return "not cancelled"
        return "cancelled"

    async def test_trigger_resource_change(uri: str, call: Call) -> str:
        """Says that a resource has changed to whoever watches it."""
        await (call.notify_resource_updated(uri) if is_modern(call) else subscribers.tell(uri))
        return "The resource has changed."

    for tool in (test_wait, test_cancelled, test_trigger_resource_change):
        server.add_tool(tool, structured_output=False)
