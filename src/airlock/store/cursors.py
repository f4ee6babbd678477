"""Where readers of the audit log stand: each by its name, noted in the transaction of what it read."""

from __future__ import annotations

import msgspec
from sqlalchemy import insert, select, update

from airlock.store.changes import Change
from airlock.store.database import Store
from airlock.store.schema import cursors

DETECT = "detect"
"""The reader that looks at every row at once."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """The row that a reader saw last, and what it must not forget."""

    n: int
    at: float
    """When it looked, Unix seconds."""
    keyless: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    """Identity providers whose keys cannot be fetched, and since when."""


def cursor(store: Store, name: str) -> Cursor | None:
    """Where a reader stands; None: it has never read."""
    with store.read() as connection:
        document = connection.execute(select(cursors.c.document).where(cursors.c.name == name)).scalar()
    return None if document is None else msgspec.json.decode(document, type=Cursor)


def remember(change: Change, name: str, place: Cursor) -> None:
    """Note where a reader stands."""
    document = msgspec.json.encode(place).decode()
    this = cursors.c.name == name
    done = change.connection.execute(update(cursors).where(this).values(document=document))
    if not done.rowcount:
        change.connection.execute(insert(cursors).values(name=name, document=document))
