"""Counting in sliding windows, in memory that does not grow with what is counted. Pure.

A window is cut into slices. Adding costs the same however much was counted; the total is exact to one slice,
and never counts anything older than the window.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

import msgspec

SLICES = 10
"""Parts of a window: the oldest is dropped as a whole."""

MOST_GROUPS = 10_000
"""Groups of one tally. Of more, those that were quiet longest are forgotten."""

MOST_MARKS = 256
"""Different things that one group tells apart."""

MOST_IDS = 50
"""Ids of rows that one group remembers: the newest."""

REPEAT = 10.0
"""Seconds until the same group is told again, unless it became graver."""


class Group(msgspec.Struct, kw_only=True):
    """What was counted of one group."""

    slices: list[int] = msgspec.field(default_factory=lambda: [0] * SLICES)
    newest: int = 0
    """Number of the newest slice, since 1970."""
    marks: dict[object, float] = msgspec.field(default_factory=dict[object, float])
    """When each was last seen."""
    rows: deque[tuple[float, str]] = msgspec.field(default_factory=lambda: deque(maxlen=MOST_IDS))
    told_at: float = float("-inf")
    told: int = 0
    """How grave it was when it was last told; 0: never."""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How a group stands within the window."""

    total: int
    distinct: int
    since: float
    ids: tuple[str, ...]


class Tally:
    """Groups and their counts over `window` seconds. Times may go back, as those of two workers do."""

    def __init__(self, window: float, *, most_groups: int = MOST_GROUPS) -> None:
        self._window = window
        self._slice = window / SLICES
        self._most = most_groups
        self._groups: OrderedDict[tuple[str, ...], Group] = OrderedDict()

    def __len__(self) -> int:
        return len(self._groups)

    def add(
        self, key: tuple[str, ...], at: float, *, weight: int = 1, marks: Iterable[object] = (), id: str = ""
    ) -> Group:
        """Count `weight`, at `at` Unix seconds, and the distinct `marks`."""
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= self._most:
                self._groups.popitem(last=False)
            group = self._groups[key] = Group(newest=int(at / self._slice))
        else:
            self._groups.move_to_end(key)
        self._turn(group, at)
        group.slices[max(int(at / self._slice), group.newest - SLICES + 1) % SLICES] += weight
        for mark in marks:
            if mark in group.marks or len(group.marks) < MOST_MARKS or self._forget(group, at):
                group.marks[mark] = at
        if id:
            group.rows.append((at, id))
        return group

    def count(self, group: Group, at: float) -> Count:
        """What the window holds that ends at `at`."""
        self._turn(group, at)
        oldest = at - self._window
        rows = [row for row in group.rows if row[0] > oldest]
        return Count(
            total=sum(group.slices),
            distinct=sum(1 for seen in group.marks.values() if seen > oldest),
            since=rows[0][0] if rows else at,
            ids=tuple(id for _, id in rows),
        )

    def total(self, key: tuple[str, ...], at: float) -> int:
        """The total of one group; 0 where it is not known."""
        group = self._groups.get(key)
        return 0 if group is None else self.count(group, at).total

    def _turn(self, group: Group, at: float) -> None:
        """Empty the slices that the window has left."""
        newest = int(at / self._slice)
        for number in range(max(group.newest + 1, newest - SLICES + 1), newest + 1):
            group.slices[number % SLICES] = 0
        group.newest = max(group.newest, newest)

    def _forget(self, group: Group, at: float) -> bool:
        """Drop the marks that the window has left; whether there is room now."""
        group.marks = {mark: seen for mark, seen in group.marks.items() if seen > at - self._window}
        return len(group.marks) < MOST_MARKS


def due(group: Group, at: float, grave: int) -> bool:
    """Whether a group that fires, this gravely, is to be told; it then was."""
    if grave <= group.told and at - group.told_at < REPEAT:
        return False
    if at - group.told_at >= REPEAT:
        group.told = 0
    group.told, group.told_at = max(group.told, grave), at
    return True
