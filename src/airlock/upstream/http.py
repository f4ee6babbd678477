"""An MCP server over Streamable HTTP, in its own era: `describe`, `request`, `close`.

The era is found out by asking (2026-07-28: `server/discover`; older: `initialize`) and remembered for a day;
a server that is pinned to an era and speaks the other is refused. A request of a caller to a legacy server
runs in a session of that caller. A call is written at most once, except where the server proved that it
did not run it: version refused (-32022) or session unknown (404).

-32020 (the headers do not fit the tool's definition) comes back as an answer: the server did not run the
call, and the caller, who owns the catalog, reads it again before it tries once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from airlock.core import certificates
from airlock.core.errors import ConfigError, Effect, UpstreamFault
from airlock.model.upstream import Ask, Notify, Offer, UpstreamAnswer, UpstreamRequest
from airlock.upstream import dialogue, guard
from airlock.upstream.breaker import Gate
from airlock.upstream.legacy import CHANGED, SUBSCRIBE, UPDATED, Legacy, Told, unheard
from airlock.upstream.listening import Listening, Watched
from airlock.upstream.modern import Modern
from airlock.upstream.pool import Pool, Resolve, resolve
from airlock.upstream.wire import CANCEL, STANDING, Challenged, Wire

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from airlock.core.clock import Clock
    from airlock.core.config import ServerEntry
    from airlock.upstream.credentials import Credential
    from airlock.upstream.wire import Reply

FIRST_ID_MOST = 1 << 52
"""Ids of requests go up from a random number: a server that keeps answers by id alone, and not by session
too, does not give one caller what it kept for another. All are exact in JavaScript."""

DESCRIBE = 30.0
"""Seconds for one reading of everything that a server offers."""

UNDECIDED = frozenset({401, 403, 408, 429})
"""4xx that say nothing about the era: the credential, the time or the load."""

P = ParamSpec("P")
T = TypeVar("T")


class HttpUpstream:
    """See the module. Belongs to one event loop; any number of calls at once, bounded by its gate."""

    def __init__(
        self,
        *,
        entry: ServerEntry,
        credential: Credential | None,
        clock: Clock,
        logger: FilteringBoundLogger,
        told: Told = unheard,
        resolve: Resolve = resolve,
        tls: certificates.Renewed | None = None,
    ) -> None:
        """`tls` spares reading `entry.tls` again. Raises `ConfigError` where a file of that is not fit."""
        self._told = told
        endpoint = guard.endpoint(entry.url or "")
        origin = endpoint.origin
        self._pinned = entry.era
        self._clock = clock
        self._log = logger.bind(server=entry.name)
        self._gate = Gate(clock=clock)
        self._pool = Pool(
            origin=origin,
            allowed=(origin,),
            clock=clock,
            tls=(tls or trusting(entry)) if origin.scheme == "https" else None,
            resolve=resolve,
        )
        self._wire = Wire(
            endpoint=endpoint,
            credential=credential,
            pool=self._pool,
            clock=clock,
            first_byte=entry.first_byte_timeout,
        )
        ids = itertools.count(1 + secrets.randbelow(FIRST_ID_MOST))
        self._modern = Modern(wire=self._wire, ids=ids)
        self._legacy = Legacy(wire=self._wire, ids=ids, clock=clock, logger=self._log, told=told)
        self._watched, self._tells_updates = Watched(), False
        self._listening = Listening(ask=self._listen, notify=partial(told, ""), logger=self._log)
        self._lent = False
        self._speaker: Modern | Legacy | None = None
        self._spoke: Modern | Legacy | None = None
        self._known_until = 0.0
        self._detecting = asyncio.Lock()

    @property
    def breaker(self) -> str:
        """`closed`, `open` or `half_open`."""
        return self._gate.breaker.state

    @property
    def strays(self) -> int:
        """Messages of the server that answered no request of ours."""
        return self._wire.strays

    @property
    def busy(self) -> bool:
        """Whether anything is open at the server, or held there."""
        return self._pool.size > 0 or len(self._legacy.sessions) > 0

    def lend(self, credential: Credential) -> None:
        """Show this credential from here on."""
        self._wire.lend(credential)
        self._lent = True

    async def describe(self) -> Offer:
        """Everything the server offers, read now. Raises `UpstreamFault`."""
        deadline = self._clock.monotonic() + DESCRIBE
        return await self._admitted(deadline, self._describe, deadline)

    async def request(
        self, request: UpstreamRequest, *, notify: Notify | None = None, ask: Ask | None = None
    ) -> UpstreamAnswer:
        """Send one request; JSON-RPC errors are answers. Raises `UpstreamFault`.

        Cancelling the task closes the request's stream, and tells a legacy server so.
        """
        return await self._admitted(request.deadline, self._request, request, notify, ask)

    def watch(self, uris: frozenset[str]) -> bool:
        """Hear when one of these resources changes, instead of those named before. False for a server
        that does not tell."""
        if not self._tells_updates:
            return False
        if self._speaker is self._legacy:
            self._legacy.watch(uris)
            return True
        self._watched.drop("")
        for uri in uris:
            self._watched.add("", uri)
        self._listening.want(uris=self._watched.uris)
        return True

    async def tell_session(self, session: str, method: str) -> None:
        """A notification to what the server holds for a session of a legacy client."""
        await self._legacy.tell_session(session, method)

    async def unsubscribe(self, session: str, uri: str) -> None:
        """Nobody in a session of a legacy client wants to hear of this resource any more."""
        self._watched.drop(session, uri)
        self._listening.want(uris=self._watched.uris)
        await self._legacy.unsubscribe(session, uri)

    async def end_session(self, session: str) -> None:
        """End what the server holds for a session of a legacy client."""
        self._watched.drop(session)
        self._listening.want(uris=self._watched.uris)
        await self._legacy.end_session(session)

    async def sweep(self) -> None:
        """End what is idle for too long. To be called every few seconds."""
        self._pool.sweep()
        await self._legacy.end()

    async def close(self) -> None:
        """End all sessions and close all connections; requests that run fail as unavailable."""
        self._listening.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL):
                await self._legacy.end(everything=True)
        self._pool.close()

    async def _admitted(
        self, deadline: float, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        permit = self._gate.enter_now()
        if permit is None:
            permit = await self._gate.enter(deadline)
        failed: bool | None = None
        try:
            result = await work(*args, **kwargs)
            failed = False
        except UpstreamFault as fault:
            failed = not (self._lent and isinstance(fault, Challenged))
            raise
        finally:
            self._gate.leave(permit, failed=failed)
        return result

    async def _request(
        self, request: UpstreamRequest, notify: Notify | None, ask: Ask | None
    ) -> UpstreamAnswer:
        for _ in range(2):
            speaker = self._speaker
            if speaker is None or self._clock.monotonic() >= self._known_until:
                speaker = await self._detected(request.deadline)
            if request.method == SUBSCRIBE and speaker is self._modern:
                return self._subscribed(request)
            answer = self._heard(await speaker.ask(request, notify, ask))
            if answer.error is None or answer.error["code"] != dialogue.VERSION_UNSUPPORTED:
                return answer
            self._speaker = None
        raise UpstreamFault.protocol("it refuses the version that it just named", effect=Effect.NONE)

    def _subscribed(self, request: UpstreamRequest) -> UpstreamAnswer:
        """A session of a legacy client wants to hear of a resource: a modern server is asked on the stream of
        its changes."""
        if not self._tells_updates:
            error = {"code": -32601, "message": "The server does not tell of changes of resources."}
            return UpstreamAnswer(error=error, size=0, era=dialogue.MODERN)
        self._watched.add(request.session, request.params["uri"])
        self._listening.want(uris=self._watched.uris)
        return UpstreamAnswer(result={}, size=0, era=dialogue.MODERN)

    async def _describe(self, deadline: float) -> Offer:
        if self._speaker is not self._legacy or self._clock.monotonic() >= self._known_until:
            peer = await self._discover(deadline)
        else:
            peer = None
        speaker = self._modern if peer else self._legacy

        async def ask(method: str, params: dict[str, Any]) -> UpstreamAnswer:
            request = UpstreamRequest(method=method, params=params, deadline=deadline)
            return self._heard(await speaker.ask(request, None))

        self._listening.want(lists=peer is not None and dialogue.changes(peer))
        self._tells_updates = peer is not None and dialogue.updates(peer)
        if peer is not None:
            return await dialogue.describe(peer, ask)
        self._legacy.forget_introduction()
        peer = await self._legacy.introduce(deadline)
        self._tells_updates = dialogue.updates(peer)
        offer = await dialogue.describe(peer, ask)
        again = await self._legacy.introduce(deadline)
        return offer if again == peer else await dialogue.describe(again, ask)

    async def _listen(self, params: dict[str, Any]) -> UpstreamAnswer:
        deadline = self._clock.monotonic() + STANDING
        return (await self._modern.listen(params, self._said, deadline)).taken()

    def _said(self, method: str, params: dict[str, Any]) -> None:
        """What a server says on the stream of its changes; that it began says nothing."""
        said = {key: value for key, value in params.items() if key != "_meta"}
        if method in CHANGED:
            self._told("", method, said)
        elif method == UPDATED:
            for session in self._watched.sessions(params.get("uri")):
                self._told(session, method, said)

    def _heard(self, reply: Reply) -> UpstreamAnswer:
        if reply.status == 404 and reply.answer is None:
            self._speaker = None
        return reply.taken()

    async def _detected(self, deadline: float) -> Modern | Legacy:
        """Who speaks to this server; found out once for all who wait. Nothing of the request is sent yet."""
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())), self._detecting:
                if self._speaker is None or self._clock.monotonic() >= self._known_until:
                    await self._discover(deadline)
        except TimeoutError as error:
            raise UpstreamFault.timeout("its era was not found out in time", effect=Effect.NONE) from error
        except UpstreamFault as fault:
            fault.effect = Effect.NONE
            raise
        return self._speaker or self._legacy

    async def _discover(self, deadline: float) -> dialogue.Peer | None:
        """Ask for the era and remember it: a modern server's introduction, or None for a legacy one."""
        peer = None if self._pinned == "legacy" else await self._probe(deadline)
        if peer is None and self._pinned == "modern":
            raise UpstreamFault.protocol(
                "pinned to the modern era, it speaks a legacy one", effect=Effect.NONE
            )
        self._speaker = self._modern if peer else self._legacy
        self._known_until = self._clock.monotonic() + dialogue.ERA_LIFETIME
        if self._spoke not in {None, self._speaker}:
            self._log.warning("upstream_era_changed", modern=peer is not None)
        self._spoke = self._speaker
        return peer

    async def _probe(self, deadline: float) -> dialogue.Peer | None:
        request = UpstreamRequest(method="server/discover", params={}, deadline=deadline)
        reply = await self._modern.ask(request, None)
        if reply.answer is not None:
            return dialogue.judge(reply.answer)
        if 400 <= reply.status < 500 and reply.status not in UNDECIDED:
            return None
        raise reply.fault or UpstreamFault.protocol(f"HTTP {reply.status}")


def trusting(entry: ServerEntry) -> certificates.Renewed:
    """Whom to trust at a server, and what to show it. Raises `ConfigError` where a file is not fit."""
    try:
        return certificates.upstream_renewed(entry.tls)
    except ValueError as error:
        raise ConfigError(f"servers.{entry.name}.tls", str(error)) from error
