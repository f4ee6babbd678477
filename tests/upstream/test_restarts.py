"""P-4: when a server that ended is started again."""

from __future__ import annotations

from airlock.upstream.restarts import Pause, RestartRule, Restarts


class Turned:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def rule(clock: Turned, *, random: float = 0.5, exits: int = 5) -> RestartRule:
    return RestartRule(numbers=Restarts(exits=exits), clock=clock, random=lambda: random)


def test_the_pause_doubles_up_to_a_minute() -> None:
    found = rule(Turned(), exits=100)
    pauses = [found.ended(lived=1).seconds for _ in range(9)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_the_pause_varies_by_a_fifth() -> None:
    assert rule(Turned(), random=0.0).ended(lived=1) == Pause(0.4, failed=False)
    assert rule(Turned(), random=1.0).ended(lived=1) == Pause(0.6, failed=False)


def test_a_healthy_minute_forgets_the_pause() -> None:
    found = rule(Turned())
    found.ended(lived=1)
    found.ended(lived=1)
    assert found.ended(lived=60).seconds == 0.5


def test_the_fifth_exit_in_five_minutes_gives_up_for_five_minutes() -> None:
    clock = Turned()
    found = rule(clock)
    for _ in range(4):
        assert not found.ended(lived=1).failed
        clock.now += 60
    assert found.ended(lived=1) == Pause(300, failed=True)


def test_five_exits_in_more_than_five_minutes_do_not() -> None:
    clock = Turned()
    found = rule(clock)
    for _ in range(9):
        assert not found.ended(lived=1).failed
        clock.now += 76


def test_a_server_that_was_given_up_is_tried_once_each_time() -> None:
    clock = Turned()
    found = rule(clock)
    for _ in range(5):
        found.ended(lived=1)
    clock.now += 290
    assert found.ended(lived=1).failed
