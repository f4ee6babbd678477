"""Says of a request that it took long: the line that `airlock logs --slowest` and operators look for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from airlock.core.clock import Clock
from airlock.gateway.listens import LISTEN
from airlock.mcp import eras
from airlock.model.call import Inbound, Reply
from airlock.model.upstream import Notify

SLOW = 1.0
"""Seconds from the first byte to the reply."""

Govern = Callable[[Inbound, Notify], Awaitable[Reply]]


class Logger(Protocol):
    def warning(self, event: str, **fields: object) -> object: ...


def watched(govern: Govern, *, clock: Clock, log: Logger) -> Govern:
    """The same way of a call, with a line for each that took `SLOW` seconds or longer."""

    async def timed(inbound: Inbound, notify: Notify) -> Reply:
        reply = await govern(inbound, notify)
        took = clock.monotonic() - inbound.received
        if took >= SLOW and not subscribed(inbound):
            log.warning(
                "slow_request",
                correlation_id=inbound.request_id,
                route=inbound.route,
                status=reply.status,
                duration_ms=round(took * 1000, 1),
                threshold_ms=SLOW * 1000,
            )
        return reply

    return timed


def subscribed(inbound: Inbound) -> bool:
    """Who listens for an hour has not waited for an answer."""
    modern = inbound.headers.get("mcp-protocol-version") in eras.MODERN
    return modern and inbound.headers.get("mcp-method") == LISTEN
