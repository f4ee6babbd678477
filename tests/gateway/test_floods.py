"""Refusals for going over a limit: a row each, then a count; none is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from airlock.core.errors import AuditFault, Refused, Stage
from airlock.gateway import floods
from airlock.gateway.floods import ROWS, WINDOW, Floods
from airlock.model.call import Identified
from airlock.model.entry import Event
from tests.gateway.parts import FakeLog, HandClock, House, call_message, until


def event() -> Event:
    return Event(event_type="call", action="rate_limit_hit", decision="deny", reason="rate_limited")


def nobody_is_told(method: str, params: dict[str, Any]) -> None:
    """No notifications here."""


class Room:
    """The floods of one worker, with a clock and a log of a test."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.log = FakeLog([])
        self.floods = Floods(log=self.log, clock=self.clock)

    async def refuse(self, times: int, key: str = "alice") -> None:
        for _ in range(times):
            await self.floods.refused(key, event)

    def counts(self) -> list[int]:
        """How many refusals each row tells."""
        return [row.metadata.get("count", 1) for row in self.log.events]


def test_few_refusals_have_a_row_each() -> None:
    async def scenario() -> None:
        room = Room()
        for _ in range(5):
            await room.refuse(ROWS)
            room.clock.seconds += 1
            await room.floods.close_windows()
        assert room.counts() == [1] * (5 * ROWS)

    asyncio.run(scenario())


def test_a_flood_is_counted_and_the_count_is_exact() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse(ROWS + 900)
        assert room.counts() == [1] * ROWS
        room.clock.seconds += 3
        await room.refuse(50)
        await room.floods.close_windows()
        assert sum(room.counts()) == ROWS
        room.clock.seconds += WINDOW
        await room.floods.close_windows()
        assert room.counts()[ROWS:] == [950]
        await room.refuse(1)
        assert room.counts()[ROWS:] == [950, 1]

    asyncio.run(scenario())


def test_callers_are_counted_apart() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse(ROWS + 5)
        await room.refuse(3, "bob")
        assert room.counts() == [1] * (ROWS + 3)

    asyncio.run(scenario())


def test_what_is_counted_is_written_when_the_worker_drains() -> None:
    async def scenario() -> None:
        room = Room()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(room.floods.run())
            await room.refuse(ROWS + 7)
            task.cancel()
        assert room.counts()[ROWS:] == [7]

    asyncio.run(scenario())


def test_windows_are_closed_as_they_end() -> None:
    async def scenario() -> None:
        room = Room()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(room.floods.run())
            await room.refuse(ROWS + 7)
            room.clock.seconds += WINDOW
            await until(lambda: len(room.log.events) == ROWS + 1)
            task.cancel()

    asyncio.run(scenario())


def test_what_could_not_be_written_counts_in_the_next_row() -> None:
    async def scenario() -> None:
        room = Room()
        await room.refuse(ROWS + 7)
        room.log.broken = lambda _: True
        room.clock.seconds += WINDOW
        await room.floods.close_windows()
        room.log.broken = lambda _: False
        await room.refuse(1)
        await room.floods.close_windows(everything=True)
        assert room.counts()[ROWS:] == [8]

    asyncio.run(scenario())


def test_a_row_of_its_own_fails_as_the_log_does() -> None:
    async def scenario() -> None:
        room = Room()
        room.log.broken = lambda _: True
        try:
            await room.refuse(1)
        except AuditFault:
            return
        raise AssertionError("refused without a record")

    asyncio.run(scenario())


def test_memory_is_bounded_and_whoever_is_beyond_has_rows() -> None:
    async def scenario() -> None:
        room = Room()
        for number in range(floods.MAX_CALLERS):
            await room.floods.refused(f"{number}", event)
        await room.refuse(ROWS + 50, "late")
        assert room.counts() == [1] * (floods.MAX_CALLERS + ROWS + 50)
        room.clock.seconds += 1
        await room.floods.close_windows()
        await room.refuse(ROWS + 50, "late")
        assert len(room.log.events) == floods.MAX_CALLERS + 2 * ROWS + 50

    asyncio.run(scenario())


def test_calls_over_the_limit_leave_rows_of_their_own_kind(tmp_path: Path) -> None:
    async def scenario() -> None:
        house = House(tmp_path)

        def permit(_: Identified) -> None:
            raise Refused(Stage.ADMIT, 42901, "rate_limited", "Too much.", retry_after=3)

        pipeline = msgspec.structs.replace(house.pipeline, permit=permit)
        for _ in range(ROWS + 20):
            reply = await pipeline.govern(house.inbound(call_message()), nobody_is_told)
            assert ("retry-after", "3") in reply.headers
        house.clock.seconds += WINDOW
        await house.record.floods.close_windows()
        rows = house.log.events
        assert {(row.action, row.decision, row.reason, row.severity) for row in rows} == {
            ("rate_limit_hit", "deny", "rate_limited", "MEDIUM")
        }
        assert sum(row.metadata.get("count", 1) for row in rows) == ROWS + 20
        assert len(rows) == ROWS + 1
        assert house.upstream.requests == []

    asyncio.run(scenario())
