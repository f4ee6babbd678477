"""Changes of the policy in force, as rows. What the last one says decides also after a restart."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from airlock.model.entry import Event, Personal
from airlock.model.revision import Revision
from airlock.store import outbox
from airlock.store.changes import POLICY
from airlock.store.database import Store
from airlock.store.schema import policy_revisions as table

MOST = 1000
"""Changes that are kept, the newest."""


def listing(connection: Connection) -> list[Revision]:
    """Every change, the oldest first."""
    return [_revision(row) for row in connection.execute(select(table).order_by(table.c.n))]


def last(connection: Connection) -> Revision | None:
    """The last change that was not refused; None before the first."""
    taken = select(table).where(table.c.kind != "refused").order_by(table.c.n.desc()).limit(1)
    row = connection.execute(taken).first()
    return None if row is None else _revision(row)


def add(connection: Connection, change: Revision) -> Revision:
    """Note a change, with its number; of too many the oldest go."""
    values = msgspec.structs.asdict(change)
    del values["n"]
    (number,) = connection.execute(insert(table).values(**values)).inserted_primary_key or (0,)
    connection.execute(delete(table).where(table.c.n <= int(number) - MOST))
    return msgspec.structs.replace(change, n=int(number))


def over(connection: Connection, n: int, files: str) -> None:
    """Note the revision of the files that a rollback stands over, once it is in force."""
    connection.execute(update(table).where(table.c.n == n).values(against=files))


def withdraw(store: Store, rollback: Revision, why: str, *, now: float) -> None:
    """Forget a rollback that could not be taken over, and leave a row that says so."""
    with store.change(POLICY) as change:
        change.connection.execute(delete(table).where(table.c.n == rollback.n))
        outbox.leave(change.connection, event_of(rollback, "rollback_refused", why), at=now)


def event_of(rollback: Revision, reason: str, detail: str = "") -> Event:
    """The row of a rollback: from what to what. Who asked, and why, can be erased."""
    about: dict[str, object] = {"from": rollback.before, "to": rollback.revision}
    return Event(
        event_type="policy",
        action="policy_rollback",
        correlation_id=rollback.incident,
        policy_revision=rollback.revision,
        reason=reason,
        severity="HIGH",
        metadata=about | ({"detail": detail[:500]} if detail else {}),
        personal=Personal(subject=rollback.by, arguments=rollback.reason.encode()),
    )


def _revision(row: Row[Any]) -> Revision:
    return msgspec.convert(row, Revision, from_attributes=True)
