"""Long work leaves the event loop to others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from airlock.gateway import aside
from airlock.gateway.aside import LARGE


def whose() -> str:
    return threading.current_thread().name


@pytest.mark.parametrize(("size", "elsewhere"), [(0, False), (LARGE, False), (LARGE + 1, True)])
def test_only_large_messages_are_looked_through_in_a_thread(size: int, elsewhere: bool) -> None:
    assert (asyncio.run(aside.aside(size, whose)) != whose()) is elsewhere


@pytest.mark.parametrize("size", [0, LARGE + 1])
def test_what_the_work_raises_is_raised(size: int) -> None:
    def fail(word: str) -> None:
        raise KeyError(word)

    with pytest.raises(KeyError, match="word"):
        asyncio.run(aside.aside(size, fail, "word"))


def test_others_go_on_meanwhile() -> None:
    async def run() -> str:
        go = threading.Event()
        work: Any = asyncio.ensure_future(aside.aside(LARGE + 1, go.wait, 30))
        await asyncio.sleep(0)
        assert not work.done()
        go.set()  # by the event loop: were it held up, the work would wait for all of its 30 seconds
        return str(await work)

    assert asyncio.run(run()) == "True"


def test_one_who_gave_up_waits_no_longer() -> None:
    async def run() -> None:
        go = threading.Event()
        work = asyncio.ensure_future(aside.aside(LARGE + 1, go.wait, 30))
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        go.set()

    asyncio.run(run())
