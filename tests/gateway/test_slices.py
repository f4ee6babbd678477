"""Many are woken a few at a time."""

from __future__ import annotations

import asyncio

import pytest

from airlock.gateway.slices import AT_ONCE, in_slices


@pytest.mark.parametrize("count", [0, 1, AT_ONCE - 1])
def test_few_are_woken_at_once(count: int) -> None:
    woken: list[int] = []
    in_slices(range(count), woken.append)
    assert woken == list(range(count))


@pytest.mark.parametrize("count", [AT_ONCE, AT_ONCE + 1, 10 * AT_ONCE])
def test_between_the_others_there_is_room_for_somebody_else(count: int) -> None:
    async def scenario() -> None:
        woken: list[int] = []
        in_slices(range(count), woken.append)
        assert woken == list(range(AT_ONCE))
        while len(woken) < count:
            before = len(woken)
            await asyncio.sleep(0)
            assert len(woken) <= before + AT_ONCE
        assert woken == list(range(count))

    asyncio.run(scenario())
