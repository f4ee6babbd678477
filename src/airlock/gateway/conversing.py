"""A modern server asks a legacy client: each question becomes a request on the stream of the client's call.

The server holds nothing meanwhile: when all answers are there, the call is made again with them and with the
state that the server wants back, which the client never sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from airlock.core import ids
from airlock.core.errors import Effect, Refused, Stage, UpstreamFault
from airlock.mcp import eras, rounds
from airlock.mcp.rounds import Requests
from airlock.model.call import Allowed, Findings, Redacted
from airlock.model.upstream import Answered, UpstreamAnswer, UpstreamRequest

PATIENCE = 120.0
"""Seconds for one answer."""

Again = Callable[[UpstreamRequest], Awaitable[UpstreamAnswer]]
"""Sends a request of the same call, under a new id."""


class Put(Protocol):
    """Sends one request to the client of a call and gives its answer. Raises `TimeoutError`."""

    async def __call__(
        self, call: Redacted, method: str, params: dict[str, Any], seconds: float = ...
    ) -> Answered: ...


class Conversing:
    """See the module. `asked` says what a client may be asked, `answers` what of its answers may be sent."""

    def __init__(
        self,
        *,
        put: Put,
        asked: Callable[[Redacted, Requests], Requests],
        answers: Callable[[Allowed, dict[str, Any], Findings], dict[str, Any]],
    ) -> None:
        self._put = put
        self._asked = asked
        self._answers = answers

    async def __call__(self, call: Redacted, answer: UpstreamAnswer, again: Again) -> UpstreamAnswer:
        """The answer in which the server asks nothing more."""
        for _ in range(rounds.MOST_ROUNDS):
            result = answer.result
            if result is None or not rounds.asks(result):
                return answer
            if answer.era not in eras.MODERN:
                raise UpstreamFault.protocol("a legacy server asks like a modern one")
            needed = rounds.needed(result)
            params = dict(call.request.params)
            if needed.requests:
                responses = await self._put_all(call, self._asked(call, needed.requests))
                params[rounds.RESPONSES] = self._answers(call.allowed, responses, call.found)
            if needed.state is not None:
                params[rounds.STATE] = needed.state
            answer = await again(msgspec.structs.replace(call.request, params=params))
        raise UpstreamFault.protocol(f"it asks for more than {rounds.MOST_ROUNDS} rounds")

    async def _put_all(self, call: Redacted, requests: Requests) -> dict[str, Any]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    key: group.create_task(self._put_one(call, request["method"], request.get("params", {})))
                    for key, request in requests.items()
                }
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return {key: task.result() for key, task in tasks.items()}

    async def _put_one(self, call: Redacted, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("mode") == "url":
            params = {**params, "elicitationId": ids.uuid7()}
        try:
            answered = await self._put(call, method, params, PATIENCE)
        except TimeoutError:
            answered = Answered(error={"code": -32603, "message": "no answer in time"})
        if answered.result is not None:
            return answered.result
        if method == rounds.ELICITATION:
            return {"action": "cancel"}
        raise unanswered(call, method)


def unanswered(call: Redacted, method: str) -> Refused:
    """How a call ends whose client does not say what its server needs to know."""
    server = call.allowed.admitted.routed.item.server
    text = f"{server} asked the client for {rounds.KINDS[method]} and got no answer."
    return Refused(Stage.FORWARD, 41001, "input_window_lost", text, effect=Effect.POSSIBLE)
