"""Looks at the memory of a process of its own, run as `python -m tests.core.heap_looks NAME`: a census walks
every object, and the process that runs the tests holds all of them."""

from __future__ import annotations

import sys
import tracemalloc

from airlock.core import heap
from airlock.core.heap import Heap, Held, Tracing

HOARD: list[bytearray] = []
MIB = 1 << 20
NOW = 1_800_000_000.0


class Marked:
    """A type that nobody else makes objects of."""


class Boastful:
    """Says more of itself than there is memory."""

    def __sizeof__(self) -> int:
        return 1 << 60


KEPT = {"marked": [Marked() for _ in range(1000)], "boastful": [Boastful()]}


class Leaky:
    """Keeps what it gets."""

    def leak(self, count: int) -> None:
        HOARD.extend(bytearray(MIB) for _ in range(count))


class HandClock:
    """Time that stands still unless it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wall(self) -> float:
        return NOW + self.seconds

    def monotonic(self) -> float:
        return self.seconds


def leaked(found: Heap) -> list[Held]:
    return [held for held in found.traced if held.size >= 4 * MIB]


def from_the_first_look(tracing: Tracing, clock: HandClock) -> None:
    # What is there is told by type, and allocations are traced from then on.
    found = tracing.look(60)
    assert (found.traced_since, found.traced) == (None, ())
    (marked,) = [held for held in found.older if held.stack[0].function == f"{__name__}.Marked"]
    assert (marked.objects, marked.stack[1].function) == (1000, "held by list")
    assert found.resident > 10 * MIB
    assert max(held.size for held in found.older) < found.resident
    assert tracemalloc.is_tracing()
    # A later look names the function that keeps most.
    Leaky().leak(8)
    clock.seconds += 59
    found = tracing.look(60)
    assert found.traced_since == NOW
    (first,) = leaked(found)
    assert first == found.traced[0]
    assert first.stack[0].function.startswith(f"{__name__}.Leaky.leak")
    assert first.stack[0].file == __file__
    assert [frame.function for frame in first.stack][-1].startswith(f"{__name__}.")
    assert first.objects >= 8
    # It ends when nobody has looked for long.
    clock.seconds += 59
    tracing.tick()
    assert tracemalloc.is_tracing()
    clock.seconds += 1
    tracing.tick()
    assert not tracemalloc.is_tracing()


def small_ones(tracing: Tracing, clock: HandClock) -> None:
    heap.MOST = 3
    older = tracing.look(60).older
    assert len(older) == 4
    assert older[3].stack[0].function == heap.REST
    assert older[0].size >= older[1].size >= older[2].size > 0
    clock.seconds += 60
    tracing.tick()
    assert not tracemalloc.is_tracing()


LOOKS = {look.__name__: look for look in (from_the_first_look, small_ones)}

if __name__ == "__main__":
    moved = HandClock()
    LOOKS[sys.argv[1]](Tracing(moved), moved)
