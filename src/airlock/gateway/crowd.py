"""How many clients a worker serves at once, where that is limited.

A client is an address, or the /64 of an IPv6 address. One that has a request running may send more; one more
client than allowed is told to come back, before anything of its request is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from airlock.core import metrics
from airlock.core.errors import Rejected
from airlock.gateway.rates import subscriber

if TYPE_CHECKING:
    from airlock.core.config import ServerSection

LIMIT = "max_clients"
"""The word of its metric."""

AGAIN = 1
"""Seconds after which a client is asked to come back: most requests are over by then."""


class Crowd:
    """The clients of one worker that have requests running. Used on the event loop; no input or output."""

    def __init__(self, *, section: ServerSection, when_done: Callable[[Callable[[], None]], None]) -> None:
        """`when_done` calls its argument once the request that runs now has ended, however it ends."""
        self._when_done = when_done
        self._running: dict[str, int] = {}
        self.configure(section)

    def configure(self, section: ServerSection) -> None:
        """Take over another limit. Where there is none, nobody is counted."""
        self._most = section.max_clients

    def address(self, source_ip: str) -> None:
        """Count a request of this address until it has ended. Raises `Rejected` 503 `too_many_clients`."""
        if self._most is None:
            return
        client, running = subscriber(source_ip), self._running
        if client not in running and len(running) >= self._most:
            metrics.rate_limited(LIMIT)
            again = (("retry-after", str(AGAIN)),)
            text = "As many clients as may be served at once have requests running."
            raise Rejected(503, -32603, "too_many_clients", text, headers=again)
        running[client] = running.get(client, 0) + 1
        self._when_done(lambda: self._end(client))

    def _end(self, client: str) -> None:
        left = self._running[client] - 1
        if left:
            self._running[client] = left
        else:
            del self._running[client]
