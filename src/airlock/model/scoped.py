"""Values that leases set for some calls: by whose, and of which tool.

A question costs one lookup for each combination of named fields in use, however many leases there are: of
several values for the same calls only those are kept that no other one makes superfluous.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airlock.model.deltas import Scope
from airlock.model.lattice import LATTICE, Join
from airlock.model.lease import ANY, Lease

Valued = list[tuple[Any, Lease]]
"""Values of one setting, with the lease that sets each."""


class Scoped:
    """The values of one setting. Filled once, then only read."""

    def __init__(self, setting: str) -> None:
        self._join = LATTICE[setting]
        self._shapes: dict[tuple[int, ...], dict[Scope, Valued]] = {}
        """By the positions of the named fields; then by their values."""

    def put(self, scope: Scope, value: Any, lease: Lease) -> None:
        """Set a value for everything in a scope."""
        shape = tuple(place for place, name in enumerate(scope) if name != ANY)
        held = self._shapes.setdefault(shape, {}).setdefault(tuple(scope[place] for place in shape), [])
        tighten(held, value, lease, self._join)

    def over(self, facts: Scope, now: float) -> Iterator[tuple[Any, Lease]]:
        """What holds for a call: every value in whose scope these facts are."""
        for shape, held in self._shapes.items():
            for value, lease in held.get(tuple([facts[place] for place in shape]), ()):
                if lease.holds(now):
                    yield value, lease


def tighten(held: Valued, value: Any, lease: Lease, join: Join) -> None:
    """Add a value, and leave out what is superfluous: as loose as another one that lasts as long."""
    end = ends(lease)
    if any(join(other, value) == other and ends(by) >= end for other, by in held):
        return
    held[:] = [(other, by) for other, by in held if join(other, value) != value or ends(by) > end]
    held.append((value, lease))


def ends(lease: Lease) -> float:
    """When it ends; infinity for never."""
    return float("inf") if lease.expires_at is None else lease.expires_at
