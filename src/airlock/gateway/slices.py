"""Many who are to be woken at once: a few in every turn of the event loop, so that nobody else waits long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 32
"""How many of them run between two looks at the network."""


def in_slices(each: Iterable[T], wake: Callable[[T], object], at_once: int = AT_ONCE) -> None:
    """Wake all of them: the first now, the others behind those that were woken before. With more than
    `at_once` it needs a running loop."""
    _wake(iter(each), wake, at_once)


def _wake(left: Iterator[T], wake: Callable[[T], object], at_once: int) -> None:
    some = list(islice(left, at_once))
    for one in some:
        wake(one)
    if len(some) == at_once:
        asyncio.get_running_loop().call_soon(_wake, left, wake, at_once)
