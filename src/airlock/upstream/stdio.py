"""One stdio server as a gateway worker sees it: the same contract as an HTTP server, over the runner.

The process behind it is shared by all callers. A modern server asks in its answer to a call, so it knows what
the caller of that call can be asked; a legacy one asks in a message of its own, of which nobody can tell whom
it concerns, so it hears of no caller's capabilities. Who wants to hear of a resource is known by its URI.
Everything that a server says is parsed strictly here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.core.errors import Effect, UpstreamFault
from airlock.model.upstream import UpstreamAnswer
from airlock.upstream import dialogue
from airlock.upstream.breaker import Gate
from airlock.upstream.frames import (
    Answer,
    Describe,
    Described,
    Failed,
    FromRunner,
    Notified,
    Request,
    TurnedAway,
    fault_of,
)
from airlock.upstream.legacy import SUBSCRIBE, UPDATED, Told, unheard
from airlock.upstream.listening import Watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.core.clock import Clock
    from airlock.model.upstream import Ask, Notify, Offer, UpstreamRequest
    from airlock.upstream.frames import ToRunner
    from airlock.upstream.stdio_link import RunnerLink

DESCRIBE_WITHIN = 90.0
"""Seconds for a whole description, a start of the server included."""

_encode = msgspec.json.Encoder().encode


class StdioUpstream:
    """`gate` is the server's own; closing leaves the server to the runner, which others share."""

    def __init__(
        self, *, name: str, link: RunnerLink, gate: Gate, clock: Clock, told: Told = unheard
    ) -> None:
        self._told = told
        self._watched = Watched()
        self._tells_updates = False
        self._name = name
        self._link = link
        self._clock = clock
        self.gate = gate

    async def describe(self) -> Offer:
        """Everything that it offers. Raises `UpstreamFault`."""
        deadline = self._clock.monotonic() + DESCRIBE_WITHIN
        head, _ = await self._exchange(lambda n: Describe(n=n, server=self._name), b"", deadline, _ignore)
        if not isinstance(head, Described):
            raise UpstreamFault.protocol("the runner answered something else", effect=Effect.NONE)
        self._tells_updates = dialogue.updates(head.peer)

        async def ask(method: str, params: dict[str, Any]) -> UpstreamAnswer:
            return await self._ask(
                lambda n: Request(n=n, server=self._name, method=method), _encode(params), deadline, _ignore
            )

        return await dialogue.describe(head.peer, ask)

    async def request(
        self, request: UpstreamRequest, *, notify: Notify | None = None, ask: Ask | None = None
    ) -> UpstreamAnswer:
        """One request and its answer. Raises `UpstreamFault`; a cancelled caller cancels it at the server."""
        del ask  # many callers share the process: nobody can tell whom it asks
        if request.method == SUBSCRIBE:
            return self._subscribed(request)
        params = dict(request.params)
        meta = dict(cast("dict[str, Any]", params.pop("_meta", {})))
        token: object = meta.pop("progressToken", None)
        progress = notify is not None and token is not None

        def head(n: int) -> Request:
            return Request(
                n=n,
                server=self._name,
                method=request.method,
                meta=meta,
                capabilities=request.client_capabilities,
                progress=progress,
            )

        permit = await self.gate.enter(request.deadline)
        failed: bool | None = None
        try:
            answer = await self._ask(head, _encode(params), request.deadline, _heard(token, notify))
            failed = False
        except TurnedAway:
            raise
        except UpstreamFault:
            failed = True
            raise
        finally:
            self.gate.leave(permit, failed=failed)
        return answer

    def watch(self, uris: frozenset[str]) -> bool:
        """Hear when one of these resources changes, instead of those named before. False for a server that
        does not tell."""
        if not self._tells_updates:
            return False
        self._watched.drop("")
        for uri in uris:
            self._watched.add("", uri)
        self._link.watch(self._name, self._watched.uris)
        return True

    def updated(self, uri: str) -> None:
        """The runner says that a resource has changed: whoever watches it is told."""
        for session in self._watched.sessions(uri):
            self._told(session, UPDATED, {"uri": uri})

    async def unsubscribe(self, session: str, uri: str) -> None:
        """Nobody in a session of a legacy client wants to hear of this resource any more."""
        self._watched.drop(session, uri)
        self._link.watch(self._name, self._watched.uris)

    async def end_session(self, session: str) -> None:
        """Nobody in a session of a legacy client wants to hear of anything any more."""
        self._watched.drop(session)
        self._link.watch(self._name, self._watched.uris)

    async def close(self) -> None:
        """Nobody hears of its resources any more; the server itself is the runner's."""
        self._link.watch(self._name, frozenset())

    def _subscribed(self, request: UpstreamRequest) -> UpstreamAnswer:
        """A session of a legacy client wants to hear of a resource: the process is asked once, for all."""
        if not self._tells_updates:
            error = {"code": -32601, "message": "The server does not tell of changes of resources."}
            return UpstreamAnswer(error=error, size=0, era=dialogue.MODERN)
        self._watched.add(request.session, request.params["uri"])
        self._link.watch(self._name, self._watched.uris)
        return UpstreamAnswer(result={}, size=0, era=dialogue.MODERN)

    async def _ask(
        self,
        head: Callable[[int], ToRunner],
        params: bytes,
        deadline: float,
        heard: Callable[[bytes], None],
    ) -> UpstreamAnswer:
        got, line = await self._exchange(head, params, deadline, heard)
        message = dialogue.read_message(line)
        if "method" in message or not isinstance(got, Answer):
            raise UpstreamFault.protocol("a message that is both request and answer")
        return dialogue.answer_of(message, size=len(line), era=got.era)

    async def _exchange(
        self,
        head: Callable[[int], ToRunner],
        body: bytes,
        deadline: float,
        heard: Callable[[bytes], None],
    ) -> tuple[FromRunner, bytes]:
        """A frame to the runner and the one that ends the call; what comes between goes to `heard`."""
        n, pending = await self._link.hand_over(head, body, deadline=deadline)
        messages = 0
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                while True:
                    got, line = await pending.take()
                    if isinstance(got, Failed):
                        raise fault_of(got)
                    if not isinstance(got, Notified):
                        return got, line
                    messages += 1
                    if messages > dialogue.MESSAGES_MOST:
                        raise UpstreamFault.protocol(f"more than {dialogue.MESSAGES_MOST} notifications")
                    heard(line)
                    if messages % dialogue.MESSAGES_AT_ONCE == 0:
                        await asyncio.sleep(0)
        except TimeoutError as error:
            raise UpstreamFault.timeout("no answer before the deadline", effect=Effect.POSSIBLE) from error
        finally:
            self._link.end(n)


def _ignore(line: bytes) -> None:
    """Nobody listens to what comes before this answer."""


def _heard(token: object, notify: Notify | None) -> Callable[[bytes], None]:
    """Passes notifications on under the caller's own token; one that is not proper MCP is dropped."""
    if notify is None:
        return _ignore

    def heard(line: bytes) -> None:
        try:
            message = dialogue.read_message(line)
        except UpstreamFault:
            return
        notify(message["method"], {**message.get("params", {}), "progressToken": token})

    return heard
