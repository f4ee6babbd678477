"""Requests to a modern server (2026-07-28): stateless, everything in the envelope, mirrored in headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlock.mcp import headers
from airlock.upstream import dialogue
from airlock.upstream.wire import Outgoing, parameter_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airlock.model.upstream import Notify, UpstreamRequest
    from airlock.upstream.wire import Reply, Wire


class Modern:
    """One server of this era. Closing a request's stream cancels it: there is nothing more to send."""

    def __init__(self, *, wire: Wire, ids: Iterator[int]) -> None:
        self._wire = wire
        self._ids = ids

    async def ask(self, request: UpstreamRequest, notify: Notify | None) -> Reply:
        method = headers.encode_value(request.method)
        lines = f"MCP-Protocol-Version: {dialogue.MODERN}\r\nMcp-Method: {method}\r\n"
        if request.name:
            lines += f"Mcp-Name: {headers.encode_value(request.name)}\r\n"
        return await self._wire.ask(
            Outgoing(
                id=next(self._ids),
                method=request.method,
                lines=lines.encode("ascii") + parameter_lines(request.param_headers),
                params=dialogue.enveloped(request.params, request.client_capabilities),
                era=dialogue.MODERN,
                deadline=request.deadline,
                notify=notify,
            )
        )
