"""One stdio server as a gateway worker sees it: the same contract as an HTTP server, over the runner.

The process behind it is shared by all callers, so capabilities that let a server ask its caller something are
never declared to it, whatever the caller can do. Everything that it says is parsed strictly here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.core.errors import Effect, UpstreamFault
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.core.clock import Clock
    from airlock.model.upstream import Notify, Offer, UpstreamAnswer, UpstreamRequest
    from airlock.upstream.frames import ToRunner
    from airlock.upstream.stdio_link import RunnerLink

INTERACTIVE = frozenset({"sampling", "elicitation", "roots"})
"""What only a caller who can be told apart may be asked."""
DESCRIBE_WITHIN = 90.0
"""Seconds for a whole description, a start of the server included."""

_encode = msgspec.json.Encoder().encode


class StdioUpstream:
    """`gate` is the server's own; closing leaves the server to the runner, which others share."""

    def __init__(self, *, name: str, link: RunnerLink, gate: Gate, clock: Clock) -> None:
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

        async def ask(method: str, params: dict[str, Any]) -> UpstreamAnswer:
            return await self._ask(
                lambda n: Request(n=n, server=self._name, method=method), _encode(params), deadline, _ignore
            )

        return await dialogue.describe(head.peer, ask)

    async def request(self, request: UpstreamRequest, *, notify: Notify | None = None) -> UpstreamAnswer:
        """One request and its answer. Raises `UpstreamFault`; a cancelled caller cancels it at the server."""
        params = dict(request.params)
        meta = dict(cast("dict[str, Any]", params.pop("_meta", {})))
        token: object = meta.pop("progressToken", None)
        capabilities = {k: v for k, v in request.client_capabilities.items() if k not in INTERACTIVE}
        progress = notify is not None and token is not None

        def head(n: int) -> Request:
            return Request(
                n=n,
                server=self._name,
                method=request.method,
                meta=meta,
                capabilities=capabilities,
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

    async def close(self) -> None:
        """Nothing is held here."""

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
