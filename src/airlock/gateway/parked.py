"""One call that waits until its client calls again: the task in which it runs, and what its server asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from airlock.gateway.catalog import compile_schema
from airlock.mcp import results, rounds
from airlock.mcp.rounds import Requests
from airlock.mcp.strict import is_object
from airlock.model.call import Redacted
from airlock.model.upstream import Answered, Ask, UpstreamAnswer

QUIET = 0.05
"""Seconds without a further request after which a server has asked what it wants to know."""

LAST = 1.0
"""Seconds that a server has to end a call whose client is not waited for, before it is cancelled."""

METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32601, -32602, -32603

Start = Callable[[Ask], Coroutine[Any, Any, UpstreamAnswer]]
"""Sends the call, with somebody to ask."""


class _Open(msgspec.Struct):
    """One request of a server."""

    request: dict[str, Any]
    answer: asyncio.Future[Answered]
    given: dict[str, Any] | None = None


class Running:
    """Work that goes on, whoever waits for its outcome; cancel its task to end it."""

    def __init__(self, work: Coroutine[Any, Any, UpstreamAnswer], group: asyncio.TaskGroup) -> None:
        self.outcome: asyncio.Future[UpstreamAnswer] = asyncio.get_running_loop().create_future()
        self.outcome.add_done_callback(_looked_at)
        self.task = group.create_task(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, UpstreamAnswer]) -> None:
        try:
            answer = await work
        except asyncio.CancelledError:
            self.outcome.cancel()
            raise
        except Exception as failure:  # noqa: BLE001 - whoever waits for the outcome raises it
            self.outcome.set_exception(failure)
        else:
            self.outcome.set_result(answer)


def _looked_at(outcome: asyncio.Future[UpstreamAnswer]) -> None:
    """How a call ended that nobody came back for is nobody's business."""
    if not outcome.cancelled():
        outcome.exception()


class Parked:
    """One call, and what its server wants to know. Begins to run at once."""

    def __init__(self, *, id: str, call: Redacted, start: Start, group: asyncio.TaskGroup) -> None:
        self.id = id
        self.call = call
        self.round = 0
        self.nonce = ""
        """Of the state that counts now; empty while nobody is asked."""
        self.open: dict[str, _Open] = {}
        self.timer: asyncio.TimerHandle | None = None
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        running = Running(start(self.ask), group)
        self.outcome, self.task = running.outcome, running.task

    async def ask(self, method: str, params: dict[str, Any]) -> Answered:
        """Called for each request of the server; cancelling it takes the request back."""
        request = {"method": method, "params": params} if params else {"method": method}
        if method not in rounds.KINDS or len(self.open) >= rounds.MOST_REQUESTS:
            return Answered(error={"code": METHOD_NOT_FOUND, "message": "Method not found"})
        if rounds.request_defect(request):
            return Answered(error={"code": INVALID_PARAMS, "message": "Invalid params"})
        key = f"r{self.round + 1}_{len(self.open) + 1}"
        self.open[key] = asked = _Open(request, asyncio.get_running_loop().create_future())
        if not self._changed.done():
            self._changed.set_result(None)
        try:
            return await asked.answer
        finally:
            self.open.pop(key, None)

    async def news(self) -> None:
        """Until the call is answered, or its server asks and then says nothing for a moment."""
        while not self.outcome.done():
            self._changed = asyncio.get_running_loop().create_future()
            waiting = QUIET if self.open else None
            done, _ = await asyncio.wait(
                {self.outcome, self._changed}, timeout=waiting, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                return

    def take(self, responses: dict[str, Any]) -> None:
        """Keep what the client says to what it was asked; extra keys mean nothing."""
        for key, asked in self.open.items():
            if asked.given is None and fits(asked.request, responses.get(key)):
                asked.given = responses[key]

    def missing(self) -> Requests:
        """What was asked and is not answered."""
        return {key: asked.request for key, asked in self.open.items() if asked.given is None}

    def deliver(self) -> None:
        """Hand the server the answers, all at once."""
        for asked in self.open.values():
            if not asked.answer.done():
                asked.answer.set_result(Answered(result=asked.given))
        self.open.clear()

    def end(self, error: int = INTERNAL) -> None:
        """Answer what is open in the client's place, and cancel the call a moment later."""
        self.nonce = ""
        for asked in self.open.values():
            if not asked.answer.done():
                asked.answer.set_result(_unanswered(asked.request["method"], error))
        self.open.clear()
        asyncio.get_running_loop().call_later(LAST, self.task.cancel)


def _unanswered(method: str, error: int) -> Answered:
    if method == rounds.ELICITATION and error == INTERNAL:
        return Answered(result={"action": "cancel"})
    return Answered(error={"code": error, "message": "The client does not answer."})


def fits(request: dict[str, Any], said: Any) -> bool:
    """Whether this can be the answer to a request: a form that was sent has the fields it was to have."""
    if not is_object(said):
        return False
    if request["method"] == rounds.ROOTS:
        return isinstance(said.get("roots"), list)
    if request["method"] == rounds.SAMPLING:
        return "content" in said and "role" in said
    action, params = said.get("action"), request["params"]
    if action != "accept" or params.get("mode", "form") != "form":
        return action in rounds.ACTIONS
    schema: Any = params["requestedSchema"]
    try:
        return results.schema_defect(schema) == "" and compile_schema(schema).is_valid(said.get("content"))
    except ValueError:
        return is_object(said.get("content"))
