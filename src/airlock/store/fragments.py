"""Fragments of an overlay, taken over as leases: each text once, whoever reads it and however often."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select

from airlock.model.lease import Origin
from airlock.model.overrides import Order
from airlock.store import leases
from airlock.store.changes import LEASES, Change
from airlock.store.database import Store
from airlock.store.leases import Activated
from airlock.store.schema import fragments

CONFIG: Origin = "config"
"""Origin of these leases, and in the place of who asked for them."""


def taken(store: Store, *, overlay: str) -> str:
    """The digest of the text that was last taken over from an overlay; empty: none was."""
    with store.read() as connection:
        return _taken(connection, overlay)


def take(
    store: Store, *, overlay: str, digest: str, orders: Sequence[Order], now: float
) -> list[Activated] | None:
    """Give the leases of one text, all of them or none; None where this text was the last one already.

    Where a key has one holder, a later text of the overlay replaces what an earlier one set. Raises `Unfit`,
    such as `setting_held` where somebody else holds it.
    """
    with store.change(LEASES) as change:
        if _taken(change.connection, overlay) == digest:
            return None
        given = [_given(change, order, overlay, now) for order in orders]
        change.connection.execute(delete(fragments).where(fragments.c.overlay == overlay))
        change.connection.execute(insert(fragments).values(overlay=overlay, digest=digest, at=now))
    return given


def _taken(connection: Connection, overlay: str) -> str:
    this = select(fragments.c.digest).where(fragments.c.overlay == overlay)
    return connection.execute(this).scalar() or ""


def _given(change: Change, order: Order, overlay: str, now: float) -> Activated:
    name = overlay.rpartition("/")[2] or "overlay"
    for before in leases.holders(change, action=order.action, selector=order.selector, now=now):
        if before.origin == CONFIG:
            reason = f"{order.key} has another value in {name}"
            leases.release(change, id=before.id, actor=CONFIG, reason=reason, now=now)
    return leases.activate(
        change,
        action=order.action,
        selector=order.selector,
        ttl=order.lasts,
        reason=f"{order.key} in {name}",
        actor=CONFIG,
        origin=CONFIG,
        now=now,
    )
