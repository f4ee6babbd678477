"""What comes for one call to a stdio server before its answer: notifications, and what its server asks.

A line that is no proper MCP is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from airlock.core.errors import UpstreamFault
from airlock.upstream import dialogue
from airlock.upstream.answering import Answering

if TYPE_CHECKING:
    import asyncio

    from airlock.model.upstream import Ask, Notify
    from airlock.upstream.stdio_link import RunnerLink

Hear = Callable[[int, bytes], Awaitable[None]]
"""Hears (number of the call, line)."""

PROGRESS = "notifications/progress"

_encode = msgspec.json.Encoder().encode


class Conversation:
    """One call whose client can be asked."""

    def __init__(self, *, link: RunnerLink, ask: Ask, told: Notify, group: asyncio.TaskGroup) -> None:
        self._link = link
        self._n = 0
        self._answering = Answering(ask=ask, tell=self._tell, group=group)
        self._heard = self._answering.hearing(told)

    async def hear(self, n: int, line: bytes) -> None:
        """What came for the call."""
        self._n = n
        message = _message(line)
        if message is not None and "id" in message:
            await self._answering.asked(message)
        elif message is not None:
            self._heard(message["method"], message.get("params", {}))

    def close(self) -> None:
        """Nothing that is still unanswered concerns the server any more."""
        self._answering.close()

    async def _tell(self, message: dict[str, Any]) -> None:
        self._link.say(self._n, _encode(message))


async def ignore(n: int, line: bytes) -> None:
    """Nobody listens to what comes before this answer."""
    del n, line


def passing(token: object, notify: Notify | None) -> Notify:
    """Passes notifications on, progress under the caller's own token."""

    def told(method: str, params: dict[str, Any]) -> None:
        if notify is not None:
            notify(method, {**params, "progressToken": token} if method == PROGRESS else params)

    return told


def hearing(told: Notify) -> Hear:
    """Passes on what is proper MCP."""

    async def hear(n: int, line: bytes) -> None:
        del n
        message = _message(line)
        if message is not None:
            told(message["method"], message.get("params", {}))

    return hear


def _message(line: bytes) -> dict[str, Any] | None:
    """What the server says; None where that is not proper MCP, which is dropped."""
    try:
        return dialogue.read_message(line)
    except UpstreamFault:
        return None
