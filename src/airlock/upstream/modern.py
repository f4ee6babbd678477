"""Requests to a modern server (2026-07-28): stateless, everything in the envelope, mirrored in headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airlock.mcp import headers
from airlock.upstream import dialogue
from airlock.upstream.wire import Outgoing, linger, parameter_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airlock.model.upstream import Ask, Notify, UpstreamRequest
    from airlock.upstream.wire import Reply, Wire

LISTEN = "subscriptions/listen"

REMEMBERED = 4096
"""Routing headers kept ready: more than a server may have tools."""


class Modern:
    """One server of this era. Closing a request's stream cancels it: there is nothing more to send."""

    def __init__(self, *, wire: Wire, ids: Iterator[int]) -> None:
        self._wire = wire
        self._ids = ids
        self._lines: dict[tuple[str, str], bytes] = {}

    async def ask(self, request: UpstreamRequest, notify: Notify | None, ask: Ask | None = None) -> Reply:
        del ask  # its era asks in its answers
        lines = self._lines.get((request.method, request.name)) or self._routing(request.method, request.name)
        if request.param_headers:
            lines += parameter_lines(request.param_headers)
        return await self._wire.ask(
            Outgoing(
                id=next(self._ids),
                method=request.method,
                lines=lines,
                params=dialogue.enveloped(request.params, request.client_capabilities),
                era=dialogue.MODERN,
                deadline=request.deadline,
                notify=notify,
            )
        )

    async def listen(self, params: dict[str, Any], notify: Notify, deadline: float) -> Reply:
        """`subscriptions/listen`: the answer is the end of the stream."""
        return await self._wire.ask(
            Outgoing(
                id=next(self._ids),
                method=LISTEN,
                lines=self._routing(LISTEN, ""),
                params=dialogue.enveloped(params, {}),
                era=dialogue.MODERN,
                deadline=deadline,
                notify=notify,
                sent=linger,
            )
        )

    def _routing(self, method: str, name: str) -> bytes:
        lines = f"MCP-Protocol-Version: {dialogue.MODERN}\r\nMcp-Method: {headers.encode_value(method)}\r\n"
        if name:
            lines += f"Mcp-Name: {headers.encode_value(name)}\r\n"
        if len(self._lines) >= REMEMBERED:
            self._lines.clear()
        return self._lines.setdefault((method, name), lines.encode("ascii"))
