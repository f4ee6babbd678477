"""What happens on every call, noted in memory and shown later.

A counter of `prometheus_client` that is shared by processes takes a microsecond, a histogram several; noting
takes a tenth. Nothing is lost but the last second of a process that is killed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tallies
from collections import deque
from collections.abc import Iterable
from itertools import repeat
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram

from airlock.core.clock import SYSTEM, Clock
from airlock.core.recent import Recent, edges

EDGES = (0.01, 0.025, 0.05, 0.06, 0.1, 0.2, 0.5, 1.0, 3.0)
"""Upper edges of every duration, seconds; one more bucket takes what is longer."""

FINE = edges(EDGES)
"""The same, and more between them, for percentiles of what was lately."""

_SHOWN = tuple(bisect_left(EDGES, edge) for edge in (*FINE, float("inf")))
"""The bucket of `EDGES` that each bucket of `FINE` is part of."""


class _Value(Protocol):
    """One number, wherever it is kept."""

    def inc(self, amount: float) -> None: ...


class _Filled(Histogram):
    """A histogram that takes many observations at once."""

    _sum: _Value
    _buckets: list[_Value]

    def fill(self, counts: Iterable[int], seconds: float) -> None:
        """Add so many to each bucket, which took so many seconds together."""
        self._sum.inc(seconds)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Durations:
    """One histogram. `note(seconds)` may be called from any thread; `hand_over` from one."""

    def __init__(self, stage: str, what: str, registry: CollectorRegistry, clock: Clock = SYSTEM) -> None:
        self.stage = stage
        self.recent = Recent(clock)
        """By bucket of `FINE`."""
        self._noted: deque[float] = deque()
        self.note = self._noted.append
        self._shown = _Filled(f"airlock_{stage}_duration_seconds", what, registry=registry, buckets=EDGES)

    def hand_over(self) -> None:
        """Show what was noted."""
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        if not noted:
            return
        fine = dict(Tallies(map(bisect_left, repeat(FINE), noted)))  # thousands a second: no loop of Python
        shown = [0] * (len(EDGES) + 1)
        for bucket, count in fine.items():
            shown[_SHOWN[bucket]] += count
        self._shown.fill(shown, sum(noted))
        self.recent.add(fine)


class Counts:
    """One counter. Used by one thread."""

    def __init__(self, shown: Counter, clock: Clock = SYSTEM) -> None:
        self.recent = Recent(clock)
        """All labels together, as number 0."""
        self._noted: dict[tuple[str, ...], int] = {}
        self._shown = shown

    def note(self, *labels: str) -> None:
        """It happened once more."""
        self._noted[labels] = self._noted.get(labels, 0) + 1

    def hand_over(self) -> None:
        """Show what was noted."""
        noted, self._noted = self._noted, {}
        if noted:
            self.recent.add({0: sum(noted.values())})
        for labels, count in noted.items():
            (self._shown.labels(*labels) if labels else self._shown).inc(count)
