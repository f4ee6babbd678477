"""The right to serve lasts for some seconds after each look at what is contained."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from airlock.gateway.serving import DARK, LAPSE, Serving
from tests.edge.parts import travel


def standing(serving: Serving) -> tuple[bool, bool]:
    return serving.lapsed, serving.dark


def after(seconds: float, then: Callable[[Serving], None] = lambda _: None) -> tuple[bool, bool]:
    async def scenario() -> tuple[bool, bool]:
        serving = Serving()
        serving.renew()
        await asyncio.sleep(seconds)
        then(serving)
        found = standing(serving)
        serving.stop()
        return found

    return travel(scenario())


def test_it_holds_after_a_look() -> None:
    assert after(LAPSE - 0.1) == (False, False)


def test_it_lapses_without_another_one() -> None:
    assert after(LAPSE + 0.1) == (True, False)


def test_in_the_end_nothing_is_served() -> None:
    assert after(LAPSE + DARK + 0.1) == (True, True)


def test_a_look_renews_it() -> None:
    assert after(LAPSE + DARK + 0.1, Serving.renew) == (False, False)


def test_a_look_in_time_begins_anew() -> None:
    async def scenario() -> None:
        serving = Serving()
        for _ in range(20):
            serving.renew()
            await asyncio.sleep(LAPSE - 0.5)
            assert standing(serving) == (False, False)
        serving.stop()

    travel(scenario())


def test_it_counts_nothing_after_it_was_stopped() -> None:
    async def scenario() -> None:
        serving = Serving()
        serving.renew()
        serving.stop()
        await asyncio.sleep(LAPSE + DARK + 1)
        assert standing(serving) == (False, False)

    travel(scenario())
