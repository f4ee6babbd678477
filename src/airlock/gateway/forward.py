"""Stage 6: send what was authorized, to the server that was resolved, and nothing else.

Only a `Redacted` call can be sent, so nothing reaches an upstream that did not pass every stage. The call
is registered as live while it runs: containment cuts it, a vanished client cancels it, and the server is
told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.deadline import Deadline
from airlock.core.errors import Effect, Fault, Refused, UpstreamFault
from airlock.gateway.live import Live, in_flight, no_longer
from airlock.gateway.restrict import Restricted, unrestricted
from airlock.mcp.eras import HEADER_MISMATCH
from airlock.model.call import Redacted, Reply, Routed
from airlock.model.snapshot import Current
from airlock.model.upstream import Notify, Offer, UpstreamAnswer, UpstreamRequest

Answer = Callable[[Redacted, UpstreamAnswer], Reply]

NOTICE_MOST, NOTICES_MOST = 16 * 1024, 1024 * 1024
"""Bytes of one notification of progress and of all of a call; what is more is dropped, and costs nothing."""


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
        notices: Callable[[Redacted], Callable[[dict[str, Any]], dict[str, Any]]],
        unsure: Callable[[Routed], Fault | None],
        restricted: Restricted = unrestricted,
    ) -> None:
        """`stale` is told of a server that calls our headers wrong: its definitions must have changed.
        `notices` takes out of the params of a call's notifications what may not leave. `unsure` says why
        nobody knows whether a call is contained by now, `restricted` why it may not be sent as it is."""
        self._unsure = unsure
        self._restricted = restricted
        self._current = current
        self._upstreams = upstreams
        self._live = live
        self._clock = clock
        self._stale = stale
        self._notices = notices

    async def __call__(self, call: Redacted, notify: Notify) -> UpstreamAnswer:
        server = call.allowed.admitted.routed.tool.server
        upstream = self._upstreams.get(server)
        if upstream is None:
            raise UpstreamFault.unavailable(f"{server} was removed", effect=Effect.NONE)
        with self._live.running(call):
            # What changed since the call was resolved found it not yet among the live ones.
            refusal = self._contained(call) or self._restricted(call)
            if refusal is not None:
                raise refusal
            try:
                with Deadline(call.request.deadline - self._clock.monotonic()):
                    answer = await upstream.request(call.request, notify=self._restored(call, notify))
            except TimeoutError as late:
                raise UpstreamFault.timeout(f"{server}: total time is over", effect=Effect.POSSIBLE) from late
            self._check(call)
        if answer.error is not None and answer.error["code"] == HEADER_MISMATCH:
            self._stale(server)
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
        """Pass on progress of this call under the client's own token, without what may not leave, while
        nothing contains the call and it is not too much; nothing else may pass."""
        meta = call.request.params.get("_meta")
        if meta is None or "progressToken" not in meta:
            return None
        ours = meta["progressToken"]
        theirs = call.allowed.admitted.routed.identified.message.params["_meta"]["progressToken"]
        clean = self._notices(call)
        routed = call.allowed.admitted.routed
        left = NOTICES_MOST

        def restored(method: str, params: dict[str, Any]) -> None:
            nonlocal left
            own = method == "notifications/progress" and params.get("progressToken") == ours
            size = len(msgspec.json.encode(params)) if own else 0
            left -= size
            if size > NOTICE_MOST or left < 0:
                return
            if own and self._contained(call) is None and self._unsure(routed) is None:
                notify(method, {**clean(params), "progressToken": theirs})

        return restored
