"""An HTTP server at which each caller is logged in as itself: a client of its own for each of them.

Callers share nothing there: no connection, no session, no circuit breaker (S-5). Whoever is not logged in
sends nothing, and gets nobody else's credential. What the server offers is read with the login of whoever
made one last: until somebody did, it offers nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from airlock.core.errors import Effect, UpstreamFault
from airlock.model.upstream import Ask, Notify, Offer, UpstreamAnswer, UpstreamRequest
from airlock.upstream import guard
from airlock.upstream.http import HttpUpstream, trusting
from airlock.upstream.legacy import Told, unheard
from airlock.upstream.oauth_discovery import read_challenge
from airlock.upstream.pool import Resolve, resolve
from airlock.upstream.wire import Challenged

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from airlock.core.clock import Clock
    from airlock.core.config import ServerEntry
    from airlock.upstream.credentials import Credential
    from airlock.upstream.grantor import Grantor
    from airlock.upstream.holding import Holder

SEATS = 256
"""Callers for whom a client is kept, idle or not."""

TRIES = 3
"""How often one request is sent whose credential the server refuses."""

T = TypeVar("T")


class Seat:
    """One caller's client, and what it shows."""

    __slots__ = ("credential", "upstream")

    def __init__(self, upstream: HttpUpstream) -> None:
        self.upstream = upstream
        self.credential: Credential | None = None


class Personal:
    """See the module. Belongs to one event loop."""

    def __init__(
        self,
        *,
        entry: ServerEntry,
        grantor: Grantor,
        holder: Holder,
        clock: Clock,
        logger: FilteringBoundLogger,
        told: Told = unheard,
        resolve: Resolve = resolve,
    ) -> None:
        """Raises `ConfigError` where a file of `entry.tls` is not fit."""
        self._entry = entry
        self._grantor = grantor
        self._holder = holder
        self._clock = clock
        self._logger = logger
        self._told = told
        self._resolve = resolve
        secure = guard.endpoint(entry.url or "").origin.scheme == "https"
        self._tls = trusting(entry) if secure else None
        self._seats: OrderedDict[str, Seat] = OrderedDict()
        self._reader = ""
        holder.add(grantor)

    @property
    def seats(self) -> int:
        """Callers for whom there is a client."""
        return len(self._seats)

    @property
    def busy(self) -> bool:
        """Whether anything is open at the server, or held there."""
        return any(seat.upstream.busy for seat in self._seats.values())

    async def describe(self) -> Offer:
        """Everything the server offers to whoever logged in last. Raises `UpstreamFault`."""
        self._reader = await self._holder.reader(self._grantor)
        return await self._as(self._reader, lambda upstream: upstream.describe())

    async def request(
        self, request: UpstreamRequest, *, notify: Notify | None = None, ask: Ask | None = None
    ) -> UpstreamAnswer:
        """Send one request as its caller; JSON-RPC errors are answers. Raises `LoginNeeded` where the caller
        has to log in first, `UpstreamFault`."""
        owner = "" if self._grantor.own else request.principal_key
        return await self._as(owner, lambda upstream: upstream.request(request, notify=notify, ask=ask))

    def watch(self, uris: frozenset[str]) -> bool:
        """Hear when one of these resources changes, as whoever reads the lists."""
        seat = self._seats.get(self._reader)
        return seat is not None and seat.upstream.watch(uris)

    async def tell_session(self, session: str, method: str) -> None:
        """A notification to what the server holds for a session of a legacy client."""
        for seat in list(self._seats.values()):
            await seat.upstream.tell_session(session, method)

    async def unsubscribe(self, session: str, uri: str) -> None:
        """Nobody in a session of a legacy client wants to hear of this resource any more."""
        for seat in list(self._seats.values()):
            await seat.upstream.unsubscribe(session, uri)

    async def end_session(self, session: str) -> None:
        """End what the server holds for a session of a legacy client."""
        for seat in list(self._seats.values()):
            await seat.upstream.end_session(session)

    async def sweep(self) -> None:
        """End what is idle for too long. To be called every few seconds."""
        for owner, seat in list(self._seats.items()):
            await seat.upstream.sweep()
            if len(self._seats) > SEATS and not seat.upstream.busy:
                del self._seats[owner]
                await seat.upstream.close()

    async def close(self) -> None:
        """End all sessions and close all connections; requests that run fail as unavailable."""
        self._holder.remove(self._grantor)
        seats, self._seats = self._seats, OrderedDict()
        for seat in seats.values():
            await seat.upstream.close()

    async def _as(self, owner: str, work: Callable[[HttpUpstream], Awaitable[T]]) -> T:
        """Do something with the credential of an owner; a refused one is renewed once, if it can be."""
        renewed = False
        for _ in range(TRIES):
            held = self._holder.known(self._grantor, owner) or await self._holder.held(self._grantor, owner)
            try:
                return await work(self._seated(owner, held.credential))
            except Challenged as refused:
                said = read_challenge(refused.header)
                if refused.status == 403 and said.error != "insufficient_scope":
                    raise
                renewed |= await self._holder.rejected(
                    owner, held, status=refused.status, said=said, again=renewed
                )
        raise UpstreamFault.unavailable("it refuses every credential", effect=Effect.NONE)

    def _seated(self, owner: str, credential: Credential) -> HttpUpstream:
        seat = self._seats.get(owner)
        if seat is None:
            upstream = HttpUpstream(
                entry=self._entry,
                credential=None,
                clock=self._clock,
                logger=self._logger,
                told=self._told,
                resolve=self._resolve,
                tls=self._tls,
            )
            seat = self._seats[owner] = Seat(upstream)
        if seat.credential is not credential:
            seat.upstream.lend(credential)
            seat.credential = credential
        return seat.upstream
