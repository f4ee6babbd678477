"""Refusals before authentication: counted, so that strangers cannot fill the log.

The first refusal of a source network and reason is sealed before it is answered. Those that follow within
the window are counted and sealed as one row with the exact count when the window ends (10 s), or when the
worker drains.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import AuditFault, Refused
from airlock.model.call import Inbound
from airlock.model.entry import Event, Personal, Receipt

WINDOW = 10.0
"""Seconds of one aggregate (audit contract: one row per source network and reason in 10 s at most)."""

MAX_NETWORKS = 1024
"""Aggregates held at a time; further networks share the aggregate of `0.0.0.0/0`, so memory and disk stay
bounded."""

_ELSEWHERE = "0.0.0.0/0"


class Log(Protocol):
    async def seal(self, event: Event) -> Receipt: ...


class Aggregate(msgspec.Struct, kw_only=True):
    """Refusals of one network for one reason since the last row."""

    until: float
    source_ip: str
    count: int = 0


class Strangers:
    """Holds the open windows of one worker. Used on the event loop only."""

    def __init__(self, *, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._open: dict[tuple[str, str], Aggregate] = {}

    async def refused(self, inbound: Inbound, refusal: Refused) -> None:
        """Record one refusal: durable at once if it is the first of its window, else counted."""
        network = network_of(inbound.source_ip)
        key = (network, refusal.reason)
        if key not in self._open and len(self._open) >= MAX_NETWORKS:
            key = (_ELSEWHERE, refusal.reason)
        window = self._open.get(key)
        if window is not None:
            window.count += 1
            return
        self._open[key] = Aggregate(until=self._clock.monotonic() + WINDOW, source_ip=inbound.source_ip)
        await self._seal(key, inbound.source_ip, 1)

    async def close_windows(self, *, everything: bool = False) -> None:
        """Seal the aggregates whose window has ended (or all of them, when draining)."""
        now = self._clock.monotonic()
        ended = [(key, window) for key, window in self._open.items() if everything or window.until <= now]
        for key, window in ended:
            del self._open[key]
            if window.count:
                try:
                    await self._seal(key, window.source_ip, window.count)
                except AuditFault:
                    kept = self._open.setdefault(key, window)
                    if kept is not window:
                        kept.count += window.count

    async def run(self) -> None:
        """Close windows as they end, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            await self.close_windows()

    async def _seal(self, key: tuple[str, str], source_ip: str, count: int) -> None:
        network, reason = key
        await self._log.seal(
            Event(
                event_type="auth",
                action="token_validate",
                decision="deny",
                reason=reason,
                severity="MEDIUM",
                metadata={"count": count, "prefix": ipaddress.ip_network(network).prefixlen},
                personal=Personal(source_ip=source_ip),
            )
        )


def network_of(source_ip: str) -> str:
    """The /24 (IPv4) or /64 (IPv6) that an address belongs to."""
    try:
        address = ipaddress.ip_address(source_ip)
    except ValueError:
        return _ELSEWHERE
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))
