"""Refusals before authentication: counted, so that strangers cannot fill the log.

The first refusal of a source network and reason is sealed before it is answered. Those that follow within
the window are counted and sealed as one row with the exact count when the window ends (10 s), or when the
worker drains. A window that counted anything is followed by the next one at once, so that a steady flow
makes one row per window.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import AuditFault, Fault, Refused, Unauthenticated
from airlock.model.call import Inbound
from airlock.model.entry import Event, Personal, Receipt

WINDOW = 10.0
"""Seconds of one aggregate (audit contract: one row per source network and reason in 10 s at most)."""

MAX_NETWORKS = 1024
"""Aggregates held at a time; further networks share the aggregate of `0.0.0.0/0`, so memory and disk stay
bounded."""

_ELSEWHERE = "0.0.0.0/0"


_ACTIONS = {
    "rate_limited": "rate_limit_hit",
    "too_many_clients": "rate_limit_hit",
    "contained": "security_violation",
}
"""What was tried, where it was not to prove who one is."""


class Log(Protocol):
    async def seal(self, event: Event) -> Receipt: ...


class Aggregate(msgspec.Struct, kw_only=True):
    """Refusals of one network for one reason. `count` are those that no row tells, nor one on its way."""

    until: float
    source_ip: str
    decision: Literal["deny", "error"]
    count: int = 0


class Strangers:
    """Holds the open windows of one worker. Used on the event loop only."""

    def __init__(self, *, log: Log, clock: Clock, failed: Callable[[str], None] = lambda _: None) -> None:
        """`failed` hears every address whose credential did not count. Who sent none only asks where to get
        one, as every client does at first."""
        self._log = log
        self._clock = clock
        self._failed = failed
        self._open: dict[tuple[str, str], Aggregate] = {}

    async def refused(self, inbound: Inbound, failure: Refused | Fault) -> None:
        """Record one refusal or failure: durable at once if it is the first of its window, else counted."""
        if isinstance(failure, Unauthenticated) and failure.error is not None:
            self._failed(inbound.source_ip)
        await self.turned_away(inbound.source_ip, failure)

    async def turned_away(self, source_ip: str, failure: Refused | Fault) -> None:
        """The same for an address whose request nobody looked at."""
        network = network_of(source_ip)
        key = (network, failure.reason)
        if key not in self._open and len(self._open) >= MAX_NETWORKS:
            key = (_ELSEWHERE, failure.reason)
        window = self._open.get(key)
        if window is not None:
            window.count += 1
            return
        self._open[key] = window = Aggregate(
            until=self._clock.monotonic() + WINDOW,
            source_ip=source_ip,
            decision="deny" if isinstance(failure, Refused) else "error",
        )
        try:
            await self._seal(key, window, 1)
        except AuditFault:
            self._count_again(key, window, 1)
            raise

    async def close_windows(self, *, everything: bool = False) -> None:
        """Seal the aggregates whose window has ended (or all of them, when draining)."""
        now = self._clock.monotonic()
        ended = [(key, window) for key, window in self._open.items() if everything or window.until <= now]
        for key, window in ended:
            if self._open.get(key) is not window:
                continue  # another closing was quicker
            count, window.count = window.count, 0
            window.until = now + WINDOW
            if everything or not count:
                del self._open[key]
            if count:
                try:
                    await self._seal(key, window, count)
                except AuditFault:
                    self._count_again(key, window, count)

    def _count_again(self, key: tuple[str, str], window: Aggregate, count: int) -> None:
        """What could not be written counts in the next row, also where the window was closed meanwhile."""
        self._open.setdefault(key, window).count += count

    async def run(self) -> None:
        """Close windows as they end, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            await self.close_windows()

    async def _seal(self, key: tuple[str, str], window: Aggregate, count: int) -> None:
        network, reason = key
        await self._log.seal(
            Event(
                event_type="auth",
                action=_ACTIONS.get(reason, "token_validate"),
                decision=window.decision,
                reason=reason,
                severity="MEDIUM",
                metadata={"count": count, "prefix": ipaddress.ip_network(network).prefixlen},
                personal=Personal(source_ip=window.source_ip),
            )
        )


def network_of(source_ip: str) -> str:
    """The /24 (IPv4, mapped or not) or /64 (IPv6) that an address belongs to."""
    try:
        address = ipaddress.ip_address(source_ip)
    except ValueError:
        return _ELSEWHERE
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))
