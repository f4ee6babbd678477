"""Who enforces the leases: every gateway worker says about once a second which epoch it is at.

Whoever has not said so for `LAPSE` seconds has lost its right to serve sensitive tools and counts no more.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select, update

from airlock.store.changes import LEASES, versions
from airlock.store.database import Store
from airlock.store.schema import replicas

LAPSE = 5.0
"""Seconds for which one word of a replica counts: its serving lease."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Who enforces an epoch. It is proven where nobody is missing."""

    acked: int
    total: int
    missing: tuple[str, ...] = ()


def seen(store: Store, *, replica: str, epoch: int, now: float) -> int:
    """Say that this replica enforces `epoch`; returns the newest epoch there is."""
    with store.change(LEASES) as change:
        said = change.connection.execute(
            update(replicas).where(replicas.c.replica == replica).values(epoch=epoch, seen_at=now)
        )
        if not said.rowcount:
            change.connection.execute(insert(replicas).values(replica=replica, epoch=epoch, seen_at=now))
        change.connection.execute(delete(replicas).where(replicas.c.seen_at < now - 10 * LAPSE))
        return versions(change.connection)[LEASES]


def gone(store: Store, *, replica: str) -> None:
    """This replica serves nobody any more."""
    with store.change(LEASES) as change:
        change.connection.execute(delete(replicas).where(replicas.c.replica == replica))


def living(store: Store, *, now: float) -> frozenset[str]:
    """The replicas that said something within `LAPSE`."""
    with store.read() as connection:
        return frozenset(
            connection.execute(select(replicas.c.replica).where(replicas.c.seen_at > now - LAPSE)).scalars()
        )


def receipt(store: Store, *, epoch: int, now: float) -> Receipt:
    """Which of the live replicas enforce `epoch`."""
    with store.read() as connection:
        live = connection.execute(select(replicas).where(replicas.c.seen_at > now - LAPSE)).all()
    missing = sorted(row.replica for row in live if row.epoch < epoch)
    return Receipt(acked=len(live) - len(missing), total=len(live), missing=tuple(missing))
