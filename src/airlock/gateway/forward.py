"""Stage 6: send what was authorized, to the server that was resolved, and nothing else.

Only a `Redacted` call can be sent, so nothing reaches an upstream that did not pass every stage. The call
is registered as live while it runs: containment cuts it, a vanished client cancels it, and the server is
told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

from airlock.core.clock import Clock
from airlock.core.deadline import Deadline
from airlock.core.errors import Effect, Fault, Refused, UpstreamFault
from airlock.gateway import addresses
from airlock.gateway.conversing import Conversing
from airlock.gateway.live import Live, in_flight, no_longer
from airlock.gateway.notices import Clean, Logged, everything, hearing, silent
from airlock.gateway.parks import Parks
from airlock.gateway.restrict import Restricted, unrestricted
from airlock.gateway.subscriptions import SUBSCRIBE
from airlock.mcp import rounds
from airlock.mcp.eras import HEADER_MISMATCH
from airlock.model.call import Redacted, Reply, Routed
from airlock.model.snapshot import Current
from airlock.model.upstream import Ask, Notify, Offer, UpstreamAnswer, UpstreamRequest

Answer = Callable[[Redacted, UpstreamAnswer], Reply]


def nobody(call: Redacted) -> Ask | None:
    """No client can be asked anything."""
    del call
    return None


def unheeded(call: Redacted) -> None:
    """Nobody hears of updates."""
    del call


class Upstream(Protocol):
    """One MCP server. Safe to use from many tasks of one loop; cancelling `request` cancels it at the
    server."""

    async def describe(self) -> Offer: ...

    async def request(
        self, request: UpstreamRequest, *, notify: Notify | None = None, ask: Ask | None = None
    ) -> UpstreamAnswer: ...

    async def close(self) -> None: ...


def _modern(call: Redacted) -> bool:
    return call.allowed.admitted.routed.identified.client.modern


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
        stale: Callable[[str], Awaitable[None]],
        notices: Clean,
        unsure: Callable[[Routed], Fault | None],
        restricted: Restricted = unrestricted,
        logged: Logged = everything,
        asks: Callable[[Redacted], Ask | None] = nobody,
        subscribed: Callable[[Redacted], None] = unheeded,
        conversing: Conversing | None = None,
        parks: Parks | None = None,
    ) -> None:
        """`stale` reads a server again that calls our headers wrong: its definitions must have changed.
        `notices` and `logged` take out of a call's notifications what may not leave. `unsure` says why
        nobody knows whether a call is contained by now, `restricted` why it may not be sent as it is.
        `asks` says how the client of a call is asked what its server asks on its stream; `conversing` asks a
        legacy client what a modern server wants to know, `parks` a modern client what a legacy one does."""
        self._asks = asks
        self._subscribed = subscribed
        self._conversing = conversing
        self._parks = parks
        self._unsure = unsure
        self._restricted = restricted
        self._current = current
        self._upstreams = upstreams
        self._live = live
        self._clock = clock
        self._stale = stale
        self._notices = notices
        self._logged = logged

    async def __call__(self, call: Redacted, notify: Notify) -> UpstreamAnswer:
        server = call.allowed.admitted.routed.item.server
        upstream = self._upstreams.get(server)
        if upstream is None:
            raise UpstreamFault.unavailable(f"{server} was removed", effect=Effect.NONE)
        restored = None if silent(call) else self._restored(call, notify)
        if self._parks is not None and self._parks.concern(call):
            answer = await self._parks(call, partial(self._sent, upstream, call, restored))
        else:
            answer = await self._sent(upstream, call, restored, self._asks(call))
        if answer.error is not None and answer.error["code"] == HEADER_MISMATCH:
            await self._stale(server)
            if self._same(call):  # the server did not run it
                answer = await self._sent(upstream, call, restored, self._asks(call))
        if answer.error is not None:
            return addresses.told(call, answer)
        if call.request.method == SUBSCRIBE:
            self._subscribed(call)
        return answer

    def _same(self, call: Redacted) -> bool:
        """Whether a server still offers what was called, by the same definition."""
        routed = call.allowed.admitted.routed
        server = self._current.get().registry.servers.get(routed.item.server)
        called = routed.item
        item = server.catalog.of(called.kind).get(called.own) if server and server.catalog else None
        return item is not None and (item.digest, item.pin) == (called.digest, called.pin)

    async def _sent(
        self, upstream: Upstream, call: Redacted, notify: Notify | None, ask: Ask | None
    ) -> UpstreamAnswer:
        stream = call.allowed.admitted.routed.identified.caller.inbound.stream
        if stream is not None:
            stream.belongs(call)
        with self._live.running(call):
            # What changed since the call was resolved found it not yet among the live ones.
            refusal = self._contained(call) or self._restricted(call)
            if refusal is not None:
                raise refusal
            try:
                with Deadline(call.request.deadline - self._clock.monotonic()):
                    answer = await upstream.request(call.request, notify=notify, ask=ask)
                    if self._conversing is not None and rounds.asks(answer.result) and not _modern(call):
                        again = partial(upstream.request, notify=notify, ask=ask)
                        answer = await self._conversing(call, answer, again)
            except TimeoutError as late:
                raise UpstreamFault.timeout("total time is over", effect=Effect.POSSIBLE) from late
            self._check(call)
        return answer

    def guarding(self, stage: Answer) -> Answer:
        """The stage that makes a reply, which may take seconds for a large answer: what contains the call
        meanwhile keeps the reply back."""

        def guarded(call: Redacted, answer: UpstreamAnswer) -> Reply:
            reply = stage(call, answer)
            self._check(call)
            return reply

        return guarded

    def _check(self, call: Redacted) -> None:
        """Raise what speaks against passing on what a server answered."""
        refusal = self._contained(call)
        if refusal is not None:
            raise in_flight(refusal)
        unsure = self._unsure(call.allowed.admitted.routed)
        if unsure is not None:
            unsure.effect = Effect.POSSIBLE
            raise unsure

    def _contained(self, call: Redacted) -> Refused | None:
        """What speaks against the call that did not when it was admitted. Leases only begin with a new
        snapshot, so under the same one there is nothing to ask."""
        now = self._current.get()
        if now is call.allowed.admitted.routed.identified.caller.snapshot:
            return None
        return no_longer(call, now, self._clock.wall())

    def _restored(self, call: Redacted, notify: Notify) -> Notify | None:
        """What passes of the server's notifications, while nothing contains the call."""
        routed = call.allowed.admitted.routed
        return hearing(
            call,
            notify,
            clean=self._notices,
            logged=self._logged,
            passing=lambda: self._contained(call) is None and self._unsure(routed) is None,
        )
