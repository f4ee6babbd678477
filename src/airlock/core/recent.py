"""What was counted lately: sums over the last minute, five minutes or hour, in steps of ten seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from airlock.core.clock import Clock

STEP = 10.0
"""Seconds that are summed up as one."""

KEPT = 3600.0
"""Seconds that are remembered."""

Counts = dict[int, int]
"""How many, by the number of what is counted, such as a bucket of a histogram. What is missing is 0."""


class Recent:
    """Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: deque[tuple[int, Counts]] = deque()

    def add(self, counts: Mapping[int, int]) -> None:
        """Count so many more, as of this moment."""
        step = int(self._clock.monotonic() // STEP)
        if not self._steps or self._steps[-1][0] != step:
            self._steps.append((step, {}))
            while self._steps[0][0] < step - KEPT / STEP:
                self._steps.popleft()
        add_up(self._steps[-1][1], counts)

    def over(self, seconds: float) -> Counts:
        """The sums of the last `seconds`, or of up to a step more."""
        first = int((self._clock.monotonic() - seconds) // STEP)
        found: Counts = {}
        for step, counts in self._steps:
            if step >= first:
                add_up(found, counts)
        return found


def add_up(sums: Counts, counts: Mapping[int, int]) -> None:
    """Add `counts` to `sums`."""
    for number, count in counts.items():
        sums[number] = sums.get(number, 0) + count


def edges(shown: Sequence[float]) -> tuple[float, ...]:
    """Edges that are a fifth apart from 10 us to 1,000 s, and with them all of `shown`: fine enough to tell
    a percentile within a tenth."""
    fine = {round(1e-5 * 1.2**step, 9) for step in range(102)}
    return tuple(sorted(fine.union(shown)))


def percentile(counts: Mapping[int, int], edges: Sequence[float], part: float) -> float:
    """Seconds within which `part` of what was counted stayed: `counts` by the number of the bucket, whose
    upper edge is `edges[number]`. Straight lines between the edges; 0.0 where nothing was counted."""
    wanted = part * sum(counts.values())
    lower = [0.0, *edges]
    for number in sorted(counts):
        count = counts[number]
        if wanted <= count:
            upper = lower[min(number + 1, len(edges))]
            return lower[number] + (upper - lower[number]) * wanted / count
        wanted -= count
    return 0.0
