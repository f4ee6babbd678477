"""Rows for the audit log that wait for somebody who has a chain.

The engine, the command line and handlers of the management API change control data; the row that tells of
it is left in the same transaction. One worker puts each row into the log; a crash between the row and the
note of its place repeats the row: better twice than never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, insert, select, update

from airlock.model import exact
from airlock.model.entry import Event
from airlock.store.changes import OUTBOX
from airlock.store.database import Store
from airlock.store.schema import audit_outbox

AT_ONCE = 256
"""Rows of one transaction: others wait for the store meanwhile."""

ASKED = 1000
"""Numbers of one question: databases take some thousands at most."""

Place = tuple[str, int]
"""Chain and sequence number of a row."""

_event = msgspec.json.Decoder(Event).decode


def leave(connection: Connection, event: Event, *, at: float) -> int:
    """Leave a row with the transaction of this connection; returns its number here. `at` in Unix seconds.

    Raises ValueError for what no log can take: it would keep every later row from it.
    """
    exact.check(event.metadata)
    values = {"event": msgspec.json.encode(event).decode(), "at": at}
    done = connection.execute(insert(audit_outbox).values(**values))
    (number,) = done.inserted_primary_key or (0,)
    return int(number)


def record(store: Store, write: Callable[[Sequence[Event]], Sequence[Place | None]]) -> int:
    """Hand the rows that are in no log yet to `write`, oldest first, and note where they stand.

    Returns how many it was handed. Those without a place stay, and all if `write` raises.
    """
    waiting = (
        select(audit_outbox.c.n, audit_outbox.c.event)
        .where(audit_outbox.c.seq.is_(None))
        .order_by(audit_outbox.c.n)
        .limit(AT_ONCE)
    )
    with store.read() as connection:
        if connection.execute(waiting.limit(1)).first() is None:
            return 0
    with store.change(OUTBOX) as change:
        rows = change.connection.execute(waiting).all()
        events = [_event(row.event) for row in rows]
        for row, where in zip(rows, write(events) if events else (), strict=True):
            if where is not None:
                this, (chain, seq) = audit_outbox.c.n == row.n, where
                change.connection.execute(update(audit_outbox).where(this).values(chain_uid=chain, seq=seq))
    return len(rows)


def places(connection: Connection, numbers: Iterable[int]) -> Mapping[int, Place]:
    """Where these rows stand in the audit log; those that are in none yet are left out."""
    wanted, found = list(numbers), dict[int, Place]()
    for first in range(0, len(wanted), ASKED):
        recorded = audit_outbox.c.seq.is_not(None) & audit_outbox.c.n.in_(wanted[first : first + ASKED])
        query = select(audit_outbox.c.n, audit_outbox.c.chain_uid, audit_outbox.c.seq).where(recorded)
        found |= {row.n: (row.chain_uid, row.seq) for row in connection.execute(query)}
    return found


def place(store: Store, number: int) -> Place | None:
    """Where one row stands; None: nowhere yet."""
    with store.read() as connection:
        return places(connection, [number]).get(number)
