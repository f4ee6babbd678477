"""A legacy server asks a modern client: its call is parked, and goes on when the client calls again.

The server asks on the stream of a call that runs. Nobody can ask a modern client anything, so the question is
the answer to its request, and the call waits here, in a task of its own, for the request that brings the
answers. What it carries to that request counts once. A parked call is live like any other: what contains it
cuts it. Who waits too long, or went away, is not waited for: the server is told.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from airlock.core.errors import Effect, Fault, Refused, Rejected, Stage, UpstreamFault
from airlock.gateway.addresses import lacking
from airlock.gateway.parked import INTERNAL, METHOD_NOT_FOUND, Parked, Running, Start
from airlock.gateway.rounds import invalid
from airlock.mcp import eras, rounds
from airlock.mcp.rounds import Requests
from airlock.model.call import Allowed, Findings, Redacted, Round
from airlock.model.upstream import Park, UpstreamAnswer

PATIENCE = 120
"""Seconds for which a call is parked."""

MOST_OF_PRINCIPAL, MOST = 8, 512
"""Calls that are parked for one principal, and in this process."""

Asked = Callable[[Redacted, Requests], Requests]
Answers = Callable[[Allowed, dict[str, Any], Findings], dict[str, Any]]


class Parks:
    """The parked calls of one worker. Used on the event loop only."""

    def __init__(self, *, node: str, asked: Asked, answers: Answers, elsewhere: Elsewhere) -> None:
        """`node` names this process among all; `asked` says what a client may be asked, `answers` what of its
        answers may be sent, `elsewhere` goes on with a call that another process holds."""
        self._node = node
        self._asked = asked
        self._answers = answers
        self._elsewhere = elsewhere
        self._held: dict[str, Parked] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Hold the calls until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    def __len__(self) -> int:
        return len(self._held)

    def concern(self, call: Redacted) -> bool:
        """Whether a call may be asked something in this way, or goes on with one that was."""
        said, routed = call.allowed.admitted.round, call.allowed.admitted.routed
        if not routed.identified.client.modern:
            return False  # and no round of its call is one
        if said is not None and said.park:
            return True
        catalog = routed.server.catalog
        return (
            catalog is not None and catalog.era not in eras.MODERN and call.request.method in rounds.CARRIERS
        )

    async def __call__(self, call: Redacted, start: Start) -> UpstreamAnswer:
        """The answer of the server, or what it wants to know first."""
        said = call.allowed.admitted.round
        if said is None or not said.park:
            return await self._next(self._begun(call, start), call)
        responses = self._answers(call.allowed, said.responses, call.found)
        if said.park.partition(".")[0] != self._node:
            return await self._elsewhere(call, said, responses)
        return await self.resume(call, said, responses)

    def hold(self, work: Coroutine[Any, Any, UpstreamAnswer]) -> Running:
        """Run this here, whoever waits for it."""
        return Running(work, self._running())

    def _running(self) -> asyncio.TaskGroup:
        if self._group is None:
            raise RuntimeError("not running")
        return self._group

    def _begun(self, call: Redacted, start: Start) -> Parked:
        id = f"{self._node}.{secrets.token_urlsafe(12)}"
        return Parked(id=id, call=call, start=start, group=self._running())

    async def resume(self, call: Redacted | None, said: Round, responses: dict[str, Any]) -> UpstreamAnswer:
        """Go on with a call that is parked here. Without a call, that of its first round stands for it.

        Raises `Rejected` -32602 for a park that is over, or whose state was used before.
        """
        parked = self._held.get(said.park)
        if parked is None or not parked.nonce or not secrets.compare_digest(parked.nonce, said.nonce):
            raise invalid()
        call = call or msgspec.structs.replace(parked.call, found=Findings())
        self._take_back(parked)
        parked.take(responses)
        if parked.missing():
            return self._question(parked, call)
        parked.deliver()
        return await self._next(parked, call)

    def forget(self, id: str) -> None:
        """End a call whose own caller came back with another call in its place."""
        parked = self._held.get(id)
        if parked is not None:
            self._take_back(parked)
            parked.end()

    async def _next(self, parked: Parked, call: Redacted) -> UpstreamAnswer:
        try:
            await parked.news()
        except asyncio.CancelledError:
            parked.task.cancel()
            raise
        return parked.outcome.result() if parked.outcome.done() else self._question(parked, call)

    def _question(self, parked: Parked, call: Redacted) -> UpstreamAnswer:
        """What the client is asked now; the call is parked from here on."""
        requests = parked.missing()
        try:
            self._check(parked, call, requests)
            told = self._asked(call, requests)
        except (Refused, Fault) as failure:
            undeclared = isinstance(failure, Rejected)
            parked.end(METHOD_NOT_FOUND if undeclared else INTERNAL)
            raise
        parked.round += 1
        parked.nonce = secrets.token_urlsafe(12)
        parked.timer = asyncio.get_running_loop().call_later(PATIENCE, self.forget, parked.id)
        self._held[parked.id] = parked
        return UpstreamAnswer(
            result={"resultType": rounds.INPUT_REQUIRED, "inputRequests": told},
            size=0,
            era=eras.MODERN[0],
            park=Park(id=parked.id, nonce=parked.nonce, lifetime=PATIENCE),
        )

    def _check(self, parked: Parked, call: Redacted, requests: Requests) -> None:
        missing = rounds.undeclared(requests, call.request.client_capabilities)
        if missing:
            raise lacking(missing)
        if parked.round >= rounds.MOST_ROUNDS:
            raise UpstreamFault.protocol(f"it asks for more than {rounds.MOST_ROUNDS} rounds")
        own = sum(
            held.call.request.principal_key == call.request.principal_key for held in self._held.values()
        )
        if own >= MOST_OF_PRINCIPAL or len(self._held) >= MOST:
            text = "Too many calls wait for answers: answer them, or let them expire."
            raise Refused(
                Stage.FORWARD, 42901, "rate_limited", text, retry_after=PATIENCE, effect=Effect.POSSIBLE
            )

    def _take_back(self, parked: Parked) -> None:
        """It is parked no more."""
        self._held.pop(parked.id, None)
        parked.nonce = ""
        if parked.timer is not None:
            parked.timer.cancel()


Elsewhere = Callable[[Redacted, Round, dict[str, Any]], Awaitable[UpstreamAnswer]]


async def nowhere(call: Redacted, said: Round, responses: dict[str, Any]) -> UpstreamAnswer:
    """The process that held the call is gone, and the call with it."""
    del call, said, responses
    text = "The server waits for this answer no more: call again from the start."
    raise Refused(Stage.FORWARD, 41001, "input_window_lost", text, effect=Effect.POSSIBLE)
