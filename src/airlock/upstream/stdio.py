"""One stdio server as a gateway worker sees it: the same contract as an HTTP server, over the runner.

The process behind it is shared by all callers, or each owner has its own (`isolation`). A modern server asks
in its answer to a call. A legacy one asks in a message of its own: whom that concerns is known on a process
of one owner, so a shared one hears of no caller's capabilities and asks nobody. What a server offers is read
of the shared process. Everything that a server says is parsed strictly here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.core.errors import Effect, UpstreamFault
from airlock.model.upstream import OF_PRINCIPAL, UpstreamAnswer
from airlock.upstream import dialogue
from airlock.upstream.breaker import Gate
from airlock.upstream.conversation import Conversation, hearing, ignore, passing
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
    from collections.abc import Callable, Mapping

    from airlock.core.clock import Clock
    from airlock.core.config import Isolation
    from airlock.model.upstream import Ask, Notify, Offer, UpstreamRequest
    from airlock.upstream.conversation import Hear
    from airlock.upstream.frames import ToRunner
    from airlock.upstream.stdio_link import RunnerLink

DESCRIBE_WITHIN = 90.0
"""Seconds for a whole description, a start of the server included."""

_encode = msgspec.json.Encoder().encode


def owner_of(isolation: Isolation, request: UpstreamRequest) -> str:
    """Whose process runs a request; empty: the one that callers share. Nothing in it is a client's choice."""
    if isolation == "session" and request.session:
        return f"{request.principal_key}\0{request.session}"
    return "" if isolation == "shared" else request.principal_key


class StdioUpstream:
    """`gate` is the server's own; closing leaves the server to the runner, which others share."""

    def __init__(
        self,
        *,
        name: str,
        link: RunnerLink,
        gate: Gate,
        clock: Clock,
        isolation: Isolation = "shared",
        told: Told = unheard,
    ) -> None:
        self._told = told
        self._isolation: Isolation = isolation
        self._watched: dict[str, Watched] = {"": Watched()}
        self._tells_updates = False
        self._name = name
        self._link = link
        self._clock = clock
        self.gate = gate

    async def describe(self) -> Offer:
        """Everything that it offers. Raises `UpstreamFault`."""
        deadline = self._clock.monotonic() + DESCRIBE_WITHIN
        head, _ = await self._exchange(lambda n: Describe(n=n, server=self._name), b"", deadline, ignore)
        if not isinstance(head, Described):
            raise UpstreamFault.protocol("the runner answered something else", effect=Effect.NONE)
        self._tells_updates = dialogue.updates(head.peer)

        async def ask(method: str, params: dict[str, Any]) -> UpstreamAnswer:
            return await self._ask(
                lambda n: Request(n=n, server=self._name, method=method), _encode(params), deadline, ignore
            )

        return await dialogue.describe(head.peer, ask)

    async def request(
        self, request: UpstreamRequest, *, notify: Notify | None = None, ask: Ask | None = None
    ) -> UpstreamAnswer:
        """One request and its answer. Raises `UpstreamFault`; a cancelled caller cancels it at the server.

        A process of an owner fails its owner alone, so `gate` counts what the shared one does.
        """
        owner = owner_of(self._isolation, request)
        if request.method == SUBSCRIBE:
            return self._subscribed(request, owner)
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
                owner=owner,
                single=bool(owner and self._isolation == "session" and request.session),
                asks=ask is not None,
                level=request.log_level,
            )

        told = passing(token, notify)
        if owner and ask is not None:
            return await self._conversed(head, _encode(params), request.deadline, told, ask)
        heard = hearing(told)
        if owner:
            return await self._ask(head, _encode(params), request.deadline, heard)
        permit = await self.gate.enter(request.deadline)
        failed: bool | None = None
        try:
            answer = await self._ask(head, _encode(params), request.deadline, heard)
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
        self._watched[""].drop("")
        for uri in uris:
            self._watched[""].add("", uri)
        self._follow("")
        return True

    def watch_own(self, uris: Mapping[str, frozenset[str]]) -> None:
        """Hear when one of these resources changes on the process of a principal that watches it, by
        principal, instead of those named before."""
        if self._isolation == "shared":
            return
        for owner in {*self._watched, *uris} - {""}:
            watched = self._watched.setdefault(owner, Watched())
            watched.drop(OF_PRINCIPAL + owner)
            for uri in uris.get(owner, ()):
                watched.add(OF_PRINCIPAL + owner, uri)
            self._follow(owner)

    def updated(self, uri: str, owner: str = "") -> None:
        """The runner says that a resource has changed, on the process of an owner or on the shared one:
        whoever watches it there is told."""
        if owner in self._watched:
            for session in self._watched[owner].sessions(uri):
                self._told(session, UPDATED, {"uri": uri})

    async def unsubscribe(self, session: str, uri: str) -> None:
        """Nobody in a session of a legacy client wants to hear of this resource any more."""
        self._forget(session, uri)

    async def end_session(self, session: str) -> None:
        """A session of a legacy client is over: nobody hears of anything in it, its process is stopped."""
        self._forget(session)
        if self._isolation == "session":
            self._link.leave(session)

    async def close(self) -> None:
        """Nobody hears of its resources any more; the server itself is the runner's."""
        for owner in self._watched:
            self._link.watch(self._name, frozenset(), owner)

    def _forget(self, session: str, uri: str | None = None) -> None:
        for owner, watched in list(self._watched.items()):
            watched.drop(session, uri)
            self._follow(owner)

    def _follow(self, owner: str) -> None:
        """Have a process tell of what is watched there."""
        uris = self._watched[owner].uris
        self._link.watch(self._name, uris, owner)
        if owner and not uris:
            del self._watched[owner]

    def _subscribed(self, request: UpstreamRequest, owner: str) -> UpstreamAnswer:
        """A session of a legacy client wants to hear of a resource: a process is asked once, for all."""
        if not self._tells_updates:
            error = {"code": -32601, "message": "The server does not tell of changes of resources."}
            return UpstreamAnswer(error=error, size=0, era=dialogue.MODERN)
        self._watched.setdefault(owner, Watched()).add(request.session, request.params["uri"])
        self._follow(owner)
        return UpstreamAnswer(result={}, size=0, era=dialogue.MODERN)

    async def _conversed(
        self, head: Callable[[int], ToRunner], params: bytes, deadline: float, told: Notify, ask: Ask
    ) -> UpstreamAnswer:
        """A request during which the server may ask its client."""
        try:
            async with asyncio.TaskGroup() as group:
                said = Conversation(link=self._link, ask=ask, told=told, group=group)
                try:
                    return await self._ask(head, params, deadline, said.hear)
                finally:
                    said.close()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _ask(
        self, head: Callable[[int], ToRunner], params: bytes, deadline: float, heard: Hear
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
        heard: Hear,
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
                    await heard(n, line)
                    if messages % dialogue.MESSAGES_AT_ONCE == 0:
                        await asyncio.sleep(0)
        except TimeoutError as error:
            raise UpstreamFault.timeout("no answer before the deadline", effect=Effect.POSSIBLE) from error
        finally:
            self._link.end(n)
