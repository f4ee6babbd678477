"""Which process of an owner runs a call, how many there may be, and which one makes place."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from airlock.core.config import ServerEntry
from airlock.upstream.frames import Request, TurnedAway
from airlock.upstream.lives import Owner
from airlock.upstream.owned import MOST_ENDING, MOST_OF_PRINCIPAL, Owned
from airlock.upstream.servers import Server
from tests.upstream.stdio_parts import toy


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Process:
    """As much of a server as is asked for its place."""

    def __init__(self, entry: ServerEntry, owner: Owner | None, era: str = "2025-06-18") -> None:
        self.entry = entry
        self.owner = owner
        self.era = era
        self.busy = False
        self.asking = False


class Place:
    """Room for some processes, whose lives end when they are told, or later."""

    def __init__(self, *, room: int = 64, stubborn: bool = False) -> None:
        self.let_go = asyncio.Event()
        if not stubborn:
            self.let_go.set()
        self.clock = Clock()
        self.room = room
        self.ended: list[Process] = []
        self.owned = Owned(begin=self._begin, room=lambda: self.room, clock=self.clock, idle=900)
        self.shared = Process(toy(), None)

    def take(self, owner: str, *, single: bool = False, **capabilities: Any) -> Process:
        order = Request(n=1, server="toy", method="x", owner=owner, single=single, capabilities=capabilities)
        return cast("Process", self.owned.take(cast("Server", self.shared), order))

    def _begin(self, entry: ServerEntry, owner: Owner) -> tuple[Server, asyncio.Task[None]]:
        process = Process(entry, owner)

        async def live() -> None:
            try:
                await asyncio.Future[None]()
            except asyncio.CancelledError:
                await self.let_go.wait()
            finally:
                self.ended.append(process)

        return cast("Server", process), asyncio.get_running_loop().create_task(live())


def on_a_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run it, and end what it leaves behind."""
    asyncio.run(work)


def test_a_process_belongs_to_an_owner_and_what_its_client_can_do() -> None:
    async def run() -> None:
        place = Place()
        first = place.take("p", roots={})
        assert place.take("p", roots={}) is first
        assert first.owner == Owner(key="p", capabilities={"roots": {}})
        others = [place.take("p"), place.take("q", roots={}), place.take("p\0s", roots={})]
        assert len({id(each) for each in (first, *others)}) == 4
        place.shared.era = "2026-07-28"  # it hears of them with every request
        assert place.take("r", roots={}) is place.take("r")
        assert place.owned.of("toy", "q") == [others[1]]
        assert len(place.owned.servers()) == 5

    on_a_loop(run())


def test_a_principal_gets_a_further_process_while_it_is_asked_and_a_session_does_not() -> None:
    async def run() -> None:
        place = Place()
        asking, single = place.take("p"), place.take("p\0s", single=True)
        asking.asking = single.asking = True
        assert place.take("p\0s", single=True) is single
        further = place.take("p")
        assert further is not asking
        assert place.take("p") is further
        asking.asking = False
        assert place.take("p") is asking

    on_a_loop(run())


def test_the_oldest_idle_one_makes_place_and_nobody_else() -> None:
    async def run() -> None:
        place = Place(room=2)
        old, new = place.take("p"), place.take("q")
        place.clock.now = 1.0
        place.take("p")
        place.take("r")
        await asyncio.sleep(0)
        assert place.owned.of("toy", "q") == []
        assert place.owned.of("toy", "p") == [old]
        for each in place.owned.servers():
            each_process = cast("Process", each)
            each_process.busy = True
        with pytest.raises(TurnedAway) as caught:
            place.take("s")
        assert (caught.value.code, caught.value.retry_after) == (50301, 5)
        place.room = 1  # a server was added to the configuration
        old.busy = False
        with pytest.raises(TurnedAway):
            place.take("s")
        assert new not in place.owned.servers()

    on_a_loop(run())


def test_a_flood_of_sessions_displaces_its_own_principal() -> None:
    async def run() -> None:
        place = Place()
        other = place.take("q\0s", single=True)
        for number in range(200):
            place.take(f"p\0{number}", single=True)
            await asyncio.sleep(0)
        held = [cast("Process", each) for each in place.owned.servers()]
        assert len(held) == MOST_OF_PRINCIPAL + 1
        assert other in held
        for each in held:
            each.busy = True
        with pytest.raises(TurnedAway):
            place.take("p\0more", single=True)
        assert place.take("q\0t", single=True) is not other

    on_a_loop(run())


def test_processes_that_do_not_end_are_not_replaced_without_end() -> None:
    async def run() -> None:
        place = Place(stubborn=True)
        await asyncio.sleep(0)
        whose = [f"{who}\0{number}" for who in "pqrs" for number in range(2 * MOST_OF_PRINCIPAL)]
        for owner in whose:
            place.take(owner)
            await asyncio.sleep(0)
            if owner == whose[2 * MOST_OF_PRINCIPAL - 1]:
                with pytest.raises(TurnedAway) as caught:  # the others still get theirs
                    place.take("p\0more")
                assert "being stopped" in caught.value.detail
        assert len(whose) == 2 * MOST_ENDING
        with pytest.raises(TurnedAway):
            place.take("t")
        place.let_go.set()

    on_a_loop(run())


def test_what_nobody_uses_is_stopped_and_what_runs_is_not() -> None:
    async def run() -> None:
        place = Place()
        idle, busy = place.take("p"), place.take("q")
        busy.busy = True
        await asyncio.sleep(0)
        place.clock.now = 900.0
        place.owned.sweep()
        await asyncio.sleep(0.01)
        assert place.ended == [idle]
        busy.busy = False
        place.clock.now = 1799.0
        place.owned.sweep()
        assert place.owned.servers() == [busy]

    on_a_loop(run())


def test_who_is_gone_leaves_no_process() -> None:
    async def run() -> None:
        place = Place()
        for owner in ("p", "p\0s", "q\0s", "q\0t", "r"):
            place.take(owner)
        place.owned.leave("s")
        assert [each.owner.key for each in place.owned.servers() if each.owner] == ["p", "q\0t", "r"]
        place.owned.forget("other")
        place.owned.forget("toy")
        assert place.owned.servers() == []
        place.take("p")
        place.owned.close()
        assert place.owned.servers() == []

    on_a_loop(run())
