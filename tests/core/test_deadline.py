"""A bound on one wait: who is out of time, and who was cancelled by somebody else."""

from __future__ import annotations

import asyncio

import pytest

from airlock.core.deadline import Deadline


async def wait(seconds: float) -> str:
    with Deadline(seconds):
        await asyncio.sleep(30)
    return "done"


@pytest.mark.parametrize("seconds", [0.01, 0.0, -5.0])
def test_a_wait_that_lasts_too_long_is_out_of_time(seconds: float) -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(wait(seconds))


def test_who_is_done_in_time_hears_nothing_of_it() -> None:
    async def story() -> str:
        with Deadline(0.02):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        return "done"

    assert asyncio.run(story()) == "done"


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def story() -> None:
        task = asyncio.create_task(wait(30))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())


def test_a_cancellation_from_elsewhere_at_the_same_time_stays_one() -> None:
    async def story() -> None:
        task = asyncio.create_task(wait(0.0))
        await asyncio.sleep(0)  # begins to wait; its time is over in the next round
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())


def test_an_error_of_the_work_is_not_hidden_by_time() -> None:
    async def story() -> None:
        with Deadline(0.0):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                raise ValueError("late and wrong") from None

    with pytest.raises(ValueError, match="late and wrong"):
        asyncio.run(story())


def test_a_task_goes_on_after_its_time_was_over() -> None:
    async def story() -> str:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError), Deadline(0.0):
            await asyncio.sleep(30)
        assert task.cancelling() == 0
        await asyncio.sleep(0)
        return "done"

    assert asyncio.run(story()) == "done"


def test_only_a_task_can_be_out_of_time() -> None:
    said: list[str] = []

    def outside(loop: asyncio.AbstractEventLoop) -> None:
        try:
            Deadline(1.0).__enter__()
        except RuntimeError as error:
            said.append(str(error))
        loop.stop()

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.call_soon(outside, loop)
        loop.run_forever()
    assert said == ["only a task can be out of time"]
