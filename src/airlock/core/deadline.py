"""A bound on the time of one wait: `asyncio.timeout` without what a call does not need of it.

Invariant: a cancellation that comes from elsewhere at the same time stays one.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """A context that raises `TimeoutError` in its task when it lasts longer than so many seconds."""

    __slots__ = ("_cancelling", "_handle", "_over", "_seconds", "_task")

    _handle: asyncio.TimerHandle
    _task: asyncio.Task[object]

    def __init__(self, seconds: float) -> None:
        """Time is over at once where `seconds` is negative; it is noticed at the first wait."""
        self._seconds = seconds
        self._over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be out of time")
        self._task, self._cancelling = task, task.cancelling()
        self._handle = asyncio.get_running_loop().call_later(max(0.0, self._seconds), self._end)

    def _end(self) -> None:
        self._over = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if self._over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
