"""What happened to leases, on its way into the audit log.

The store knows first: a lease holds from its commit on, and a command on a stopped gateway has no log to
write to. One worker puts each event into the log; a crash between its row and the commit repeats the row:
better twice than never.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Select, select, update

from airlock.model.lease import Lease
from airlock.store.changes import LEASES
from airlock.store.database import Store
from airlock.store.lease_rows import plain
from airlock.store.schema import lease_events, leases

AT_ONCE = 256
"""Events of one transaction: others wait for the store meanwhile."""


class LeaseEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a lease. `at` in Unix seconds; `lease` as it was last written."""

    event: Literal["lease_applied", "lease_extended", "lease_released", "lease_expired"]
    lease: Lease
    at: float
    actor: str
    reason: str
    epoch: int


Place = tuple[str, int]
"""Chain and sequence number of a row."""


def record(store: Store, write: Callable[[Sequence[LeaseEvent]], Sequence[Place]]) -> int:
    """Hand the events that nobody recorded yet to `write`, oldest first, and note where they stand.

    Returns how many. If `write` raises, they stay.
    """
    waiting: Select[Any] = (
        select(lease_events).where(lease_events.c.seq.is_(None)).order_by(lease_events.c.n).limit(AT_ONCE)
    )
    with store.read() as connection:
        if connection.execute(waiting.limit(1)).first() is None:
            return 0
    with store.change(LEASES) as change:
        rows = change.connection.execute(waiting).all()
        ids = {row.lease_id for row in rows}
        found = change.connection.execute(select(leases).where(leases.c.id.in_(ids)))
        known = {row.id: plain(row) for row in found}
        events = [
            LeaseEvent(
                event=row.event,
                lease=known[row.lease_id],
                at=row.at,
                actor=row.actor,
                reason=row.reason,
                epoch=row.epoch,
            )
            for row in rows
        ]
        for row, (chain, seq) in zip(rows, write(events) if events else (), strict=True):
            this = lease_events.c.n == row.n
            change.connection.execute(update(lease_events).where(this).values(chain_uid=chain, seq=seq))
    return len(events)
