"""For how long a client may keep an answer: what its server, the configuration and the leases allow (C-5).

While a lease holds back something on the caller's route, nothing is kept for longer than that lease lasts,
and never for more than five seconds: a lease that is lifted early ends without having said so.
"""

from __future__ import annotations

from collections.abc import Iterator

from airlock.core.clock import Clock
from airlock.gateway.resolve import visible_servers
from airlock.model.call import Identified
from airlock.model.lease import Lease

CONTAINED_MS = 5_000
"""The most while a lease holds back servers or tools."""


class Lifetime:
    """Says it in milliseconds. `most`, in seconds, is replaced with the configuration."""

    def __init__(self, *, clock: Clock, most: float) -> None:
        self._clock = clock
        self.most = most

    def of_list(self, identified: Identified) -> int:
        """Of what is made of all servers on the route: what any of them allows at least."""
        catalogs = [server.catalog for server in visible_servers(identified.caller)]
        said = [catalog.keep_ms for catalog in catalogs if catalog is not None]
        return min((self.at_most(identified), *said))

    def at_most(self, identified: Identified) -> int:
        """Of anything on the route, whatever its server says."""
        now, most = self._clock.wall(), int(self.most * 1000)
        for lease in _holding(identified):
            if lease.holds(now):
                most = min(most, CONTAINED_MS)
                if lease.expires_at is not None:
                    most = min(most, int((lease.expires_at - now) * 1000))
        return most


def _holding(identified: Identified) -> Iterator[Lease]:
    """The leases on servers of the route and on what they offer."""
    caller = identified.caller
    index = caller.snapshot.leases.index
    if index is None or not (index.servers or index.tools):
        return
    names = {server.entry.name for server in visible_servers(caller)}
    yield from (lease for name, lease in index.servers.items() if name in names)
    yield from (lease for (name, *_), lease in index.tools.items() if name in names)
