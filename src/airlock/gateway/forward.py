"""Stage 6: send what was authorized, to the server that was resolved, and nothing else.

Only a `Redacted` call can be sent, so nothing reaches an upstream that did not pass every stage. The call
is registered as live while it runs: containment cuts it, a vanished client cancels it, and the server is
told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from airlock.core.clock import Clock
from airlock.core.errors import Effect, UpstreamFault
from airlock.gateway.live import Live, no_longer
from airlock.mcp.eras import HEADER_MISMATCH
from airlock.model.call import Redacted
from airlock.model.snapshot import Current
from airlock.model.upstream import Notify, Offer, UpstreamAnswer, UpstreamRequest


class Upstream(Protocol):
    """One MCP server. Safe to use from many tasks of one loop; cancelling `request` cancels it at the
    server."""

    async def describe(self) -> Offer: ...

    async def request(self, request: UpstreamRequest, *, notify: Notify | None = None) -> UpstreamAnswer: ...

    async def close(self) -> None: ...


class Forward:
    """`upstreams` is the mapping that the registry's owner keeps current; a server without one is
    unavailable."""

    def __init__(
        self,
        *,
        current: Current,
        upstreams: Mapping[str, Upstream],
        live: Live,
        clock: Clock,
        stale: Callable[[str], None],
    ) -> None:
        """`stale` is told of a server that calls our headers wrong: its definitions must have changed."""
        self._current = current
        self._upstreams = upstreams
        self._live = live
        self._clock = clock
        self._stale = stale

    async def __call__(self, call: Redacted, notify: Notify) -> UpstreamAnswer:
        server = call.allowed.admitted.routed.tool.server
        upstream = self._upstreams.get(server)
        if upstream is None:
            raise UpstreamFault.unavailable(f"{server} was removed", effect=Effect.NONE)
        with self._live.running(call):
            # What changed since the call was resolved found it not yet among the live ones.
            refusal = no_longer(call, self._current.get())
            if refusal is not None:
                raise refusal
            try:
                async with asyncio.timeout(call.request.deadline - self._clock.monotonic()):
                    answer = await upstream.request(call.request, notify=_restored(call, notify))
            except TimeoutError as late:
                raise UpstreamFault.timeout(f"{server}: total time is over", effect=Effect.POSSIBLE) from late
        if answer.error is not None and answer.error["code"] == HEADER_MISMATCH:
            self._stale(server)
        return answer


def _restored(call: Redacted, notify: Notify) -> Notify | None:
    """Pass on progress of this call under the client's own token; nothing else may pass."""
    meta = call.request.params.get("_meta")
    if meta is None:
        return None
    ours = meta["progressToken"]
    theirs = call.allowed.admitted.routed.identified.message.params["_meta"]["progressToken"]

    def restored(method: str, params: dict[str, Any]) -> None:
        if method == "notifications/progress" and params.get("progressToken") == ours:
            notify(method, {**params, "progressToken": theirs})

    return restored
