"""Admission to one server (rule F-8)."""

from __future__ import annotations

import asyncio

import pytest

from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream.breaker import CONSECUTIVE, OPEN_FIRST, Breaker, BreakerState, Gate
from tests.upstream.http_parts import HandClock, run, until


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(breaker.admit())


def opened(clock: HandClock) -> Breaker:
    breaker = Breaker(clock=clock)
    fail(breaker, 5)
    return breaker


def test_five_failures_in_a_row_open_it() -> None:
    breaker = Breaker(clock=HandClock())
    fail(breaker, 4)
    assert breaker.state is BreakerState.CLOSED
    fail(breaker)
    assert breaker.state is BreakerState.OPEN


def test_a_success_breaks_the_row() -> None:
    breaker = Breaker(clock=HandClock())
    for _ in range(3):
        fail(breaker, 4)
        breaker.succeeded(breaker.admit())
        breaker.succeeded(breaker.admit())
    assert breaker.state is BreakerState.CLOSED


def test_half_of_twenty_calls_in_ten_seconds_open_it() -> None:
    breaker = Breaker(clock=HandClock())
    for _ in range(9):
        breaker.succeeded(breaker.admit())
        fail(breaker)
    breaker.succeeded(breaker.admit())
    assert breaker.state is BreakerState.CLOSED
    fail(breaker)
    assert breaker.state is BreakerState.OPEN


def test_what_is_older_than_ten_seconds_does_not_count() -> None:
    clock = HandClock()
    breaker = Breaker(clock=clock)
    for _ in range(9):
        breaker.succeeded(breaker.admit())
        fail(breaker)
    clock.now += 10
    breaker.succeeded(breaker.admit())
    fail(breaker)
    assert breaker.state is BreakerState.CLOSED


def test_an_open_breaker_refuses_without_effect_and_says_for_how_long() -> None:
    clock = HandClock()
    breaker = opened(clock)
    clock.now += 2.5
    with pytest.raises(UpstreamFault) as caught:
        breaker.admit()
    assert (caught.value.effect, caught.value.retry_after, caught.value.code) == (Effect.NONE, 3, 50301)


def test_one_probe_at_a_time() -> None:
    clock = HandClock()
    breaker = opened(clock)
    clock.now += 5
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.admit()
    with pytest.raises(UpstreamFault):
        breaker.admit()


def test_a_successful_probe_closes_it() -> None:
    clock = HandClock()
    breaker = opened(clock)
    clock.now += 5
    breaker.succeeded(breaker.admit())
    assert breaker.state is BreakerState.CLOSED


def test_failed_probes_double_the_time_up_to_a_minute() -> None:
    clock = HandClock()
    breaker = opened(clock)
    waits: list[int | None] = []
    for _ in range(6):
        with pytest.raises(UpstreamFault) as caught:
            breaker.check()
        waits.append(caught.value.retry_after)
        clock.now += 60
        fail(breaker)
    assert waits == [5, 10, 20, 40, 60, 60]


def test_an_abandoned_probe_lets_the_next_one_try() -> None:
    clock = HandClock()
    breaker = opened(clock)
    clock.now += 5
    breaker.abandoned(breaker.admit())
    breaker.succeeded(breaker.admit())
    assert breaker.state is BreakerState.CLOSED


def test_late_outcomes_of_an_earlier_time_change_nothing() -> None:
    clock = HandClock()
    breaker = Breaker(clock=clock)
    old = [breaker.admit() for _ in range(3)]
    fail(breaker, 5)
    breaker.succeeded(old[0])
    breaker.failed(old[1])
    breaker.abandoned(old[2])
    assert breaker.state is BreakerState.OPEN
    clock.now += 5
    assert breaker.state is BreakerState.HALF_OPEN


def test_places_are_granted_in_order() -> None:
    async def story() -> list[int]:
        gate = Gate(clock=HandClock(), concurrent=1)
        order: list[int] = []

        async def caller(number: int) -> None:
            permit = await gate.enter(1010.0)
            order.append(number)
            gate.leave(permit, failed=False)

        first = await gate.enter(1010.0)
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(caller(number))
            await until(lambda: gate.waiting == 3)
            gate.leave(first, failed=False)
        return order

    assert run(story()) == [0, 1, 2]


def test_nobody_enters_at_once_before_those_who_wait() -> None:
    async def story() -> None:
        gate = Gate(clock=HandClock(), concurrent=1)
        permit = gate.enter_now()
        assert (permit, gate.enter_now()) == (0, None)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(gate.enter(1010.0))
            await until(lambda: gate.waiting == 1)
            gate.leave(0, failed=False)
            assert gate.enter_now() is None
            gate.leave(await waiting, failed=False)
        assert gate.enter_now() == 0

    run(story())


def test_a_server_that_was_given_up_is_not_entered_and_no_place_is_lost() -> None:
    clock = HandClock()
    gate = Gate(clock=clock, concurrent=1)
    for _ in range(CONSECUTIVE):
        gate.breaker.failed(0)
    with pytest.raises(UpstreamFault, match="given up"):
        gate.enter_now()
    clock.now += OPEN_FIRST
    assert gate.enter_now() is not None


def test_a_full_queue_refuses_at_once() -> None:
    async def story() -> None:
        gate = Gate(clock=HandClock(), concurrent=1, queue=1)
        await gate.enter(1010.0)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(gate.enter(1010.0))
            await until(lambda: gate.waiting == 1)
            with pytest.raises(UpstreamFault, match="queue") as caught:
                await gate.enter(1010.0)
            assert (caught.value.effect, caught.value.retry_after) == (Effect.NONE, 1)
            gate.leave(0, failed=None)
            await waiting

    run(story())


def test_waiting_ends_at_the_deadline() -> None:
    async def story() -> None:
        clock = HandClock()
        gate = Gate(clock=clock, concurrent=1)
        await gate.enter(clock.now)
        with pytest.raises(UpstreamFault, match="deadline") as caught:
            await gate.enter(clock.now + 0.02)
        assert (caught.value.code, caught.value.effect) == (50401, Effect.NONE)
        assert gate.waiting == 0

    run(story())


def test_a_cancelled_waiter_gives_its_place_on() -> None:
    async def story() -> None:
        gate = Gate(clock=HandClock(), concurrent=1)
        first = await gate.enter(1010.0)
        async with asyncio.TaskGroup() as group:
            early = group.create_task(gate.enter(1010.0))
            late = group.create_task(gate.enter(1010.0))
            await until(lambda: gate.waiting == 2)
            gate.leave(first, failed=False)  # grants the place to `early` ...
            early.cancel()  # ... which goes away in the same turn
            await late
        assert early.cancelled()

    run(story())


def test_a_waiter_that_was_cancelled_is_passed_over() -> None:
    async def story() -> None:
        gate = Gate(clock=HandClock(), concurrent=1)
        first = await gate.enter(1010.0)
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(gate.enter(1010.0))
            late = group.create_task(gate.enter(1010.0))
            await until(lambda: gate.waiting == 2)
            gone.cancel()
            gate.leave(first, failed=False)
            await late

    run(story())


def test_who_waited_while_it_opened_is_refused_and_frees_the_place() -> None:
    async def story() -> None:
        gate = Gate(clock=HandClock(), concurrent=1)
        first = await gate.enter(1010.0)
        for _ in range(4):
            gate.breaker.failed(first)

        async def end() -> None:
            await until(lambda: gate.waiting == 1)
            gate.leave(first, failed=True)

        waited, _ = await asyncio.gather(gate.enter(1010.0), end(), return_exceptions=True)
        assert isinstance(waited, UpstreamFault)
        assert waited.effect is Effect.NONE

    run(story())
