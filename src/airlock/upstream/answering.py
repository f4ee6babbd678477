"""Answers to the requests that a legacy server makes while one of ours runs.

Each is answered in a task of its own, so that the stream is read on meanwhile: the server may withdraw what
it asked, report progress, or give the result without waiting. What is unanswered by then is withdrawn.
Without anybody to ask, a ping gets its pong and everything else "no such method".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from airlock.model.upstream import Answered, Ask, Notify
from airlock.upstream.exchange import Exchange
from airlock.upstream.wire import PERSON, SERVER_REQUESTS

Tell = Callable[[dict[str, Any]], Awaitable[None]]
"""Sends one message to the server; whether it arrives is its own matter."""

CANCELLED = "notifications/cancelled"

MOST = 16
"""Requests of a server that are answered at the same time on one stream: each is a task of ours."""

_UNKNOWN = Answered(error={"code": -32601, "message": "Method not found"})
_TOO_MANY = Answered(error={"code": -32603, "message": "Too many requests at once"})


async def refuse(tell: Tell, message: dict[str, Any]) -> None:
    """Answer a request of a server that can ask nobody."""
    await tell(_reply(message, Answered(result={}) if message["method"] == "ping" else _UNKNOWN))


class Answering:
    """The requests of a server on one stream. Its tasks run in `group`, and end with `close`."""

    def __init__(self, *, ask: Ask, tell: Tell, group: asyncio.TaskGroup) -> None:
        self._ask = ask
        self._tell = tell
        self._group = group
        self._running: dict[str | int, asyncio.Task[None]] = {}
        self._exchange: Exchange | None = None
        self._outside = 0

    def sent(self, exchange: Exchange) -> None:
        """Our request was sent."""
        self._exchange = exchange

    async def asked_outside(self, message: dict[str, Any]) -> None:
        """A request of the server that came on another stream than the answer will."""
        self._outside += 1
        if self._outside > SERVER_REQUESTS:
            await self._tell(_reply(message, _TOO_MANY))
            return
        if self._exchange is not None:
            self._exchange.wait_for(PERSON)
        await self.asked(message)

    async def asked(self, message: dict[str, Any]) -> None:
        """A request of the server. An id that is being answered is not taken twice."""
        if message["method"] == "ping":
            await refuse(self._tell, message)
        elif message["id"] in self._running:
            return
        elif len(self._running) >= MOST:
            await self._tell(_reply(message, _TOO_MANY))
        else:
            task = self._running[message["id"]] = self._group.create_task(self._answer(message))
            task.add_done_callback(lambda _: self._running.pop(message["id"], None))

    def hearing(self, notify: Notify | None) -> Notify:
        """`notify`, less what concerns a request of the server: it takes that back."""

        def heard(method: str, params: dict[str, Any]) -> None:
            if not self.withdrawn(method, params) and notify is not None:
                notify(method, params)

        return heard

    def withdrawn(self, method: str, params: dict[str, Any]) -> bool:
        """Whether a notification took a request back that was being answered."""
        task = self._running.get(params.get("requestId", "")) if method == CANCELLED else None
        return task is not None and task.cancel()

    def close(self) -> None:
        """Nothing that is still unanswered concerns the server any more."""
        for task in list(self._running.values()):
            task.cancel()

    async def _answer(self, message: dict[str, Any]) -> None:
        answered = await self._ask(message["method"], message.get("params", {}))
        await self._tell(_reply(message, answered))


def _reply(message: dict[str, Any], answered: Answered) -> dict[str, Any]:
    outcome = {"result": answered.result} if answered.error is None else {"error": answered.error}
    return {"jsonrpc": "2.0", "id": message["id"], **outcome}
