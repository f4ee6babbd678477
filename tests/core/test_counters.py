"""Counts that workers share: a window that slides, a table that does not grow, a wait that is true."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airlock.core import counters
from airlock.core.counters import WAYS, Limit, Shared
from airlock.core.units import Rate, rate

NOW = 6000.0
"""The beginning of a minute, an hour is not."""

SETS = 64


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the product, and quicker to fill."""
    monkeypatch.setattr(counters, "SETS", SETS)


def memory(workers: int) -> memoryview:
    words = memoryview(bytearray(Shared.size(workers) * 8)).cast("Q")
    words[0] = 42
    return words


def host(workers: int = 2) -> list[Shared]:
    """The workers of one host."""
    words = memory(workers)
    return [Shared(words, workers=workers, slot=slot) for slot in range(workers)]


def taken(shared: Shared, key: int, limit: Limit, now: float) -> bool:
    """Whether one more fits; it is counted then."""
    if shared.callers.wait(key, limit, now):
        return False
    shared.callers.add(key, limit, now)
    return True


def test_as_many_as_the_limit_says_and_not_one_more() -> None:
    (shared,) = host(1)
    limit, key = shared.limit("x", rate("5/min")), shared.key("alice")
    assert [taken(shared, key, limit, NOW) for _ in range(7)] == [True] * 5 + [False] * 2


def test_what_one_worker_counts_all_see() -> None:
    one, other = host()
    limit, key = one.limit("x", rate("4/min")), one.key("alice")
    assert [taken(worker, key, limit, NOW) for worker in (one, other, one, other, one, other)] == [
        *([True] * 4), False, False,
    ]  # fmt: skip


def test_workers_agree_on_keys_and_strangers_cannot_compute_them() -> None:
    one, other = host()
    (elsewhere,) = (Shared(memoryview(bytearray(Shared.size(1) * 8)).cast("Q"), workers=1, slot=0),)
    assert one.key("alice") == other.key("alice") != elsewhere.key("alice")


def test_callers_and_limits_are_counted_apart() -> None:
    (shared,) = host(1)
    limit = shared.limit("x", rate("1/min"))
    assert taken(shared, shared.key("alice"), limit, NOW)
    assert taken(shared, shared.key("bob"), limit, NOW)
    assert taken(shared, shared.key("alice"), shared.limit("y", rate("1/min")), NOW)
    assert taken(shared, shared.key("alice"), shared.limit("x", rate("1/h")), NOW)
    assert not taken(shared, shared.key("alice"), limit, NOW)


def test_strangers_and_callers_have_tables_of_their_own() -> None:
    (shared,) = host(1)
    limit, key = shared.limit("x", rate("1/min")), shared.key("alice")
    shared.strangers.add(key, limit, NOW)
    assert taken(shared, key, limit, NOW)


def test_a_tighter_limit_gives_no_credit_for_what_was_asked_before() -> None:
    (shared,) = host(1)
    key = shared.key("alice")
    for _ in range(50):
        shared.callers.add(key, shared.limit("x", rate("200/min")), NOW)
    assert shared.callers.wait(key, shared.limit("x", rate("10/min")), NOW) > 0
    assert shared.callers.wait(key, shared.limit("x", rate("200/min")), NOW) == 0


def test_none_at_all_is_a_limit() -> None:
    (shared,) = host(1)
    assert shared.callers.wait(1, shared.limit("x", rate("0/h")), NOW) == 3600.0


def test_the_window_before_counts_by_the_part_that_overlaps() -> None:
    (shared,) = host(1)
    limit, key = shared.limit("x", rate("10/min")), shared.key("alice")
    for _ in range(10):
        shared.callers.add(key, limit, NOW + 59)
    assert shared.callers.wait(key, limit, NOW + 60) > 0
    assert shared.callers.wait(key, limit, NOW + 66.1) == 0
    assert sum(taken(shared, key, limit, NOW + 90) for _ in range(10)) == 5


def test_two_windows_later_all_is_forgotten() -> None:
    (shared,) = host(1)
    limit, key = shared.limit("x", rate("1/s")), shared.key("alice")
    shared.callers.add(key, limit, NOW)
    for later in (2, 2 + (1 << 16), 1 << 16):
        assert shared.callers.wait(key, limit, NOW + later) == 0
    shared.callers.add(key, limit, NOW + (1 << 16))
    assert shared.callers.wait(key, limit, NOW + (1 << 16)) > 0


def test_a_worker_whose_clock_was_read_a_moment_later_is_understood() -> None:
    one, other = host()
    limit, key = one.limit("x", rate("3/min")), one.key("alice")
    other.callers.add(key, limit, NOW + 59.999)
    other.callers.add(key, limit, NOW + 60.0)
    assert one.callers.wait(key, limit, NOW + 59.999) == 0
    one.callers.add(key, limit, NOW + 59.999)
    one.callers.add(key, limit, NOW + 59.999)
    assert one.callers.wait(key, limit, NOW + 59.999) > 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 30),
    seconds=st.sampled_from([1, 60, 3600]),
    steps=st.lists(st.tuples(st.integers(0, 1), st.floats(0, 2)), min_size=1, max_size=80),
)
def test_who_waits_as_told_is_served_and_nobody_gets_twice_the_limit(
    count: int, seconds: int, steps: list[tuple[int, float]]
) -> None:
    workers = host()
    limit, key = workers[0].limit("x", Rate(count, seconds)), workers[0].key("alice")
    now, served = NOW, list[float]()
    for worker, pause in steps:
        now += pause * seconds / count
        wait = workers[worker].callers.wait(key, limit, now)
        if wait:
            assert wait <= 2 * seconds
            now += wait + 1e-6 * seconds
            assert workers[1 - worker].callers.wait(key, limit, now) == 0
        workers[worker].callers.add(key, limit, now)
        served.append(now)
    for moment in served:
        assert sum(moment - seconds < other <= moment for other in served) < 2 * count + 1


def test_a_worker_that_is_started_again_finds_what_was_counted() -> None:
    words = memory(2)
    limit = Shared(words, workers=2, slot=0).limit("x", rate("2/min"))
    key = Shared(words, workers=2, slot=0).key("alice")
    for _ in range(2):
        assert taken(Shared(words, workers=2, slot=0), key, limit, NOW)
    assert not taken(Shared(words, workers=2, slot=0), key, limit, NOW)


def same_set(shared: Shared, limit: Limit, number: int) -> list[int]:
    """Keys that meet in one set of the table."""
    return [(way * SETS) ^ limit.salt for way in range(1, number + 1)]


def test_a_flood_takes_the_place_of_the_smallest_count() -> None:
    (shared,) = host(1)
    limit = shared.limit("x", rate("3/min"))
    loud, *others = same_set(shared, limit, 4 * WAYS)
    for _ in range(3):
        shared.callers.add(loud, limit, NOW)
    for key in others:
        shared.callers.add(key, limit, NOW + 1)
    assert shared.callers.wait(loud, limit, NOW + 1) > 0
    assert shared.callers.wait(others[-1], shared.limit("x", rate("1/min")), NOW + 1) > 0
    assert shared.callers.wait(others[0], shared.limit("x", rate("1/min")), NOW + 1) == 0


def test_what_is_over_makes_room_first() -> None:
    (shared,) = host(1)
    limit = shared.limit("x", rate("1/min"))
    old, *others = same_set(shared, limit, WAYS)
    for _ in range(5):
        shared.callers.add(old, limit, NOW)
    for key in others:
        shared.callers.add(key, limit, NOW + 150)
    (new,) = same_set(shared, limit, WAYS + 1)[-1:]
    shared.callers.add(new, limit, NOW + 150)
    assert all(shared.callers.wait(key, limit, NOW + 150) > 0 for key in (*others, new))
    assert shared.callers.wait(old, limit, NOW + 150) == 0


def test_any_number_of_addresses_fits_the_same_memory() -> None:
    (shared,) = host(1)
    limit = shared.limit("per_ip", rate("1000/min"))
    for number in range(10_000):
        shared.strangers.add(shared.key(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"), limit, NOW)
    assert SETS * WAYS // 2 < len(shared.strangers) <= SETS * WAYS


def test_a_count_stands_still_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_COUNT", 7)
    (shared,) = host(1)
    limit, key = shared.limit("x", rate("7/min")), shared.key("alice")
    for _ in range(20):
        shared.callers.add(key, limit, NOW)
    assert shared.callers.wait(key, limit, NOW) > 0


def test_what_runs_is_the_sum_of_all_workers() -> None:
    one, other = host()
    key = one.key("alice")
    one.running.begin(key)
    one.running.begin(key)
    other.running.begin(key)
    assert (one.running.count(key), other.running.count(key)) == (3, 3)
    one.running.end(key)
    other.running.end(key)
    assert (one.running.count(key), other.running.count(key)) == (1, 1)
    one.running.end(key)
    assert (one.running.count(key), other.running.count(key)) == (0, 0)


def test_a_worker_that_died_counts_until_it_is_started_again() -> None:
    words = memory(2)
    one, other = (Shared(words, workers=2, slot=slot) for slot in range(2))
    key = one.key("alice")
    one.running.begin(key)
    assert other.running.count(key) == 1
    Shared(words, workers=2, slot=0)
    assert other.running.count(key) == 0


def test_what_finds_no_slot_is_counted_by_its_own_worker() -> None:
    one, other = host()
    keys = [way * SETS for way in range(1, WAYS + 3)]
    for key in keys:
        one.running.begin(key)
        one.running.begin(key)
    assert [one.running.count(key) for key in keys] == [2] * len(keys)
    assert [other.running.count(key) for key in keys] == [2] * WAYS + [0, 0]
    for key in keys:
        one.running.end(key)
        one.running.end(key)
    assert [one.running.count(key) + other.running.count(key) for key in keys] == [0] * len(keys)
