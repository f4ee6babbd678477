"""Work as usual, measured: calls by hand over connections of their own, so that either worker gets them."""

from __future__ import annotations

import asyncio
from statistics import median

import msgspec

from airlock.cli.demo import agent
from airlock.cli.demo.response.room import Document, Room
from airlock.core.clock import SYSTEM


class Took(msgspec.Struct, frozen=True, kw_only=True):
    """One call: what came back, and after how many seconds."""

    answer: Document
    seconds: float

    @property
    def served(self) -> bool:
        """Whether the answer is the server's own."""
        return agent.served(self.answer)

    @property
    def code(self) -> int:
        """Of the refusal; 0 where there is none."""
        return agent.refusal_code(self.answer)


async def call(room: Room, tool: str, **arguments: object) -> Took:
    """One call by ada."""
    async with agent.http(room.clerks["ada"]) as carrier:
        began = SYSTEM.monotonic()
        answer = await agent.by_hand(carrier, room.site.url, agent.message(tool, **arguments))
        return Took(answer=answer, seconds=SYSTEM.monotonic() - began)


async def calls(room: Room, tool: str, times: int, *, at_once: int = 1, **arguments: object) -> list[Took]:
    """So many of them, no more than `at_once` at the same time."""
    turn = asyncio.Semaphore(at_once)

    async def one() -> Took:
        async with turn:
            return await call(room, tool, **arguments)

    return await asyncio.gather(*(one() for _ in range(times)))


def usual(took: list[Took]) -> float:
    """Seconds within which half of them were answered."""
    return median(each.seconds for each in took)
