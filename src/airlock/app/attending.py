"""Wiring: what workers tell each other of sessions that began, are used, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from structlog.typing import FilteringBoundLogger

from airlock.app.peers import Obey, Peers
from airlock.core.clock import Clock
from airlock.gateway.attendance import Attendance, Seen

SWEEP = 15.0
"""Seconds between two looks for sessions without use."""


class Attending:
    """The word of one worker. It is heard through `peers`."""

    def __init__(
        self,
        *,
        attendance: Attendance,
        peers: Peers,
        read: Callable[[], Iterable[str]],
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`read` gives the sessions that have a stream which somebody reads here."""
        self._attendance = attendance
        self._peers = peers
        self._read = read
        self._clock = clock
        self._log = log
        attendance.over, attendance.tell = self._over, self._tell

    @property
    def hears(self) -> dict[str, Obey]:
        """What this worker does when it is told, by the word that tells it."""
        return {"mcp_seen": self._seen, "mcp_gone": self._gone}

    async def ended(self, sid: str) -> None:
        """Have every worker refuse a session, and then end what it holds of it."""
        self._attendance.gone(sid)
        await self._peers.ask("mcp_gone", {"session": sid})
        self._over(sid)

    async def run(self) -> None:
        """End sessions without use, for as long as the worker serves."""
        while True:
            await asyncio.sleep(SWEEP)
            closed = self._attendance.sweep(self._clock.wall(), self._read())
            if closed:
                self._log.info("sessions_closed", **closed)

    def _over(self, sid: str) -> None:
        self._peers.all("mcp_over", {"session": sid})

    def _tell(self, seen: Seen) -> None:
        self._peers.all("mcp_seen", seen)

    async def _seen(self, body: Seen) -> None:
        self._attendance.heard(body)

    async def _gone(self, body: dict[str, str]) -> dict[str, Any]:
        self._attendance.gone(body["session"])
        return {}
