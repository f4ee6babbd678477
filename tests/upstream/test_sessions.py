"""Sessions at one legacy server."""

from __future__ import annotations

import asyncio

import pytest

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.dialogue import Peer
from airlock.upstream.sessions import Session, Sessions, key_of
from tests.upstream.http_parts import HandClock, run, until

A, B = key_of("a", {}), key_of("b", {})


class Opener:
    """Opens numbered sessions; waits while `gate` is closed."""

    def __init__(self) -> None:
        self.opened = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Session:
        await self.gate.wait()
        self.opened += 1
        return Session(peer=Peer(version="2025-11-25"), session_id=b"s-%d" % self.opened)


async def used(sessions: Sessions, key: tuple[str, bytes], opener: Opener) -> bytes:
    session = await sessions.enter(key, opener, 2000.0)
    sessions.leave(session)
    return session.id


def test_the_key_is_the_caller_and_the_set_of_capabilities() -> None:
    assert key_of("p", {"a": {}, "b": {}}) == key_of("p", {"b": {}, "a": {}})
    assert len({key_of("p", {}), key_of("q", {}), key_of("p", {"a": {}}), key_of("p", {"a": {"x": 1}})}) == 4


def test_a_session_is_kept_per_caller() -> None:
    async def story() -> None:
        sessions, opener = Sessions(clock=HandClock()), Opener()
        assert [await used(sessions, key, opener) for key in (A, B, A, B)] == [b"s-1", b"s-2", b"s-1", b"s-2"]

    run(story())


def test_two_first_calls_do_one_handshake() -> None:
    async def story() -> None:
        sessions, opener = Sessions(clock=HandClock()), Opener()
        opener.gate.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(used(sessions, A, opener))
            await asyncio.sleep(0)
            opener.gate.set()
        assert opener.opened == 1

    run(story())


def test_when_the_first_goes_away_the_second_does_the_handshake() -> None:
    async def story() -> None:
        sessions, opener = Sessions(clock=HandClock()), Opener()
        opener.gate.clear()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(used(sessions, A, opener))
            second = group.create_task(used(sessions, A, opener))
            await asyncio.sleep(0)
            first.cancel()
            await until(first.done)
            opener.gate.set()
            assert await second == b"s-1"

    run(story())


def test_a_handshake_ends_at_the_deadline_of_who_waits() -> None:
    async def story() -> None:
        sessions, opener = Sessions(clock=HandClock()), Opener()
        opener.gate.clear()
        with pytest.raises(UpstreamFault) as caught:
            await sessions.enter(A, opener, 1000.02)
        assert (caught.value.code, caught.value.effect) == (50401, Effect.NONE)

    run(story())


def test_a_failed_handshake_means_that_the_request_had_no_effect() -> None:
    async def fail() -> Session:
        raise UpstreamFault.unavailable("closed", effect=Effect.POSSIBLE)

    async def story() -> None:
        with pytest.raises(UpstreamFault) as caught:
            await Sessions(clock=HandClock()).enter(A, fail, 2000.0)
        assert caught.value.effect is Effect.NONE

    run(story())


def test_a_dropped_session_is_opened_anew_and_a_replaced_one_stays() -> None:
    async def story() -> None:
        sessions, opener = Sessions(clock=HandClock()), Opener()
        old = await sessions.enter(A, opener, 2000.0)
        sessions.drop(A, old)
        assert await used(sessions, A, opener) == b"s-2"
        sessions.drop(A, old)
        assert await used(sessions, A, opener) == b"s-2"
        sessions.leave(old)

    run(story())


def test_idle_sessions_are_retired_and_busy_ones_stay() -> None:
    async def story() -> None:
        clock = HandClock()
        sessions, opener = Sessions(clock=clock), Opener()
        await used(sessions, A, opener)
        await sessions.enter(B, opener, 2000.0)
        clock.now += 601
        assert [session.id for session in sessions.retire()] == [b"s-1"]
        assert sessions.retire() == []
        assert len(sessions) == 1
        assert [session.id for session in sessions.retire(everything=True)] == [b"s-2"]

    run(story())


def test_the_oldest_idle_sessions_make_room() -> None:
    async def story() -> None:
        sessions, opener = Sessions(clock=HandClock(), most=2), Opener()
        busy = await sessions.enter(A, opener, 2000.0)
        await used(sessions, B, opener)
        await used(sessions, key_of("c", {}), opener)
        assert [session.id for session in sessions.retire()] == [b"s-2"]
        assert len(sessions) == 2
        sessions.leave(busy)

    run(story())


def test_what_nobody_ends_is_bounded_too() -> None:
    async def story() -> None:
        sessions, opener = Sessions(clock=HandClock(), most=2), Opener()
        for number in range(10):
            await used(sessions, key_of(str(number), {}), opener)
        assert len(sessions.retire()) == 2

    run(story())


def test_busy_sessions_are_not_taken_away_for_room() -> None:
    async def story() -> None:
        sessions, opener = Sessions(clock=HandClock(), most=1), Opener()
        for key in (A, B):
            await sessions.enter(key, opener, 2000.0)
        assert len(sessions) == 2

    run(story())


def test_a_server_without_session_ids_needs_no_end() -> None:
    async def plain() -> Session:
        return Session(peer=Peer(version="2025-11-25"), session_id=b"")

    async def story() -> None:
        sessions = Sessions(clock=HandClock())
        session = await sessions.enter(A, plain, 2000.0)
        assert session.lines == b"MCP-Protocol-Version: 2025-11-25\r\n"
        assert sessions.retire(everything=True) == []

    run(story())
