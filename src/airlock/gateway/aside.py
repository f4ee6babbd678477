"""Long work beside the event loop, so that a large text of one server keeps nobody else waiting.

Looking through 16 MiB of what is nearly a secret takes many seconds. One thread does such work, a piece after
the other: more of them would only take turns with the event loop more often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LARGE = 64 * 1024
"""Bytes of a message up to which it is looked through at once: at worst some 60 ms."""

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")


async def aside(size: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `work` gives for a message of `size` bytes; it raises what `work` raises.

    A caller that is cancelled meanwhile goes on at once, and what `work` gives is dropped.
    """
    if size <= LARGE:
        return work(*args, **kwargs)
    return await asyncio.wrap_future(_thread.submit(work, *args, **kwargs))
