"""Where the shared counts live, and how the limits of a worker are wired.

The memory has no file behind it: the supervisor makes it and hands its descriptor to each worker, so no write
to a disk can hold up a request, a worker that is started again finds what was counted, and nothing stays.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from airlock.core import metrics
from airlock.core.counters import HEADER, Shared
from airlock.gateway import crowd
from airlock.gateway.rates import NAMES, Rates, request_ends

if TYPE_CHECKING:
    from airlock.core.clock import Clock
    from airlock.core.config import Config
    from airlock.model.call import Admitted, Allowed
    from airlock.model.snapshot import Current


def make_counts(workers: int) -> int:
    """The descriptor of new memory for the counts of so many workers; the caller closes it."""
    descriptor = os.memfd_create("airlock-counts", os.MFD_CLOEXEC)
    os.truncate(descriptor, Shared.size(workers) * 8)
    os.pwrite(descriptor, os.urandom(HEADER * 8), 0)
    return descriptor


def open_counts(descriptor: int, *, workers: int, slot: int) -> Shared:
    """The counts as one worker sees them; the descriptor is not needed afterwards."""
    mapping = mmap.mmap(descriptor, Shared.size(workers) * 8)
    return Shared(memoryview(mapping).cast("Q"), workers=workers, slot=slot)


def limits(*, config: Config, counts: Shared, current: Current, clock: Clock) -> Rates:
    """The limits of a worker."""
    metrics.from_zero(limits=(*NAMES, crowd.LIMIT))
    return Rates(
        section=config.rate_limiting,
        shared=counts,
        current=current,
        clock=clock,
        when_done=request_ends,
    )


def spending(authorize: Callable[[Admitted], Allowed], rates: Rates) -> Callable[[Admitted], Allowed]:
    """A call that policy allows is taken from the caller's budget; a refused one costs nothing."""

    def authorized(admitted: Admitted) -> Allowed:
        allowed = authorize(admitted)
        rates.spend(admitted.routed)
        return allowed

    return authorized
