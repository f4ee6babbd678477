"""What is over and old leaves the store in bounded steps: alerts that ended without an incident, and rows for
the audit log that are in it.

An alert of an incident stays with it. A row stays as long as a timeline or a run names it, and the newest one
stays in any case: its number must not be given again.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Select, delete, func, insert, select, update

from airlock.store.changes import INCIDENTS, OUTBOX
from airlock.store.database import Store
from airlock.store.schema import alerts, audit_outbox, cursors, incident_events, run_steps

STEP = 500
"""Rows of one transaction: others wait for the store meanwhile."""

OVER = ("DISMISSED", "RESOLVED")
"""States of alerts into which nothing folds any more."""

REMOVED = "alerts_removed"
"""Where it is noted how many alerts of each rule were removed: counts of alerts never fall."""

_counts = msgspec.json.Decoder(dict[str, int]).decode


def removed(store: Store) -> dict[str, int]:
    """How many alerts of each rule were removed."""
    with store.read() as connection:
        return _counts(connection.execute(_noted()).scalar() or "{}")


def remove_alerts(store: Store, *, before: float) -> int:
    """Remove alerts that ended without an incident and are older; says how many, `STEP` at most."""
    old = (alerts.c.state.in_(OVER)) & (alerts.c.incident == "") & (alerts.c.last_seen < before)
    query = select(alerts.c.id, alerts.c.rule).where(old).order_by(alerts.c.last_seen).limit(STEP)
    with store.read() as connection:
        if connection.execute(query.limit(1)).first() is None:
            return 0
    with store.change(INCIDENTS) as change:
        gone = change.connection.execute(query).all()
        change.connection.execute(delete(alerts).where(alerts.c.id.in_([row.id for row in gone])))
        counts = _counts(change.connection.execute(_noted()).scalar() or "{}")
        for row in gone:
            counts[row.rule] = counts.get(row.rule, 0) + 1
        document = msgspec.json.encode(counts).decode()
        noted = update(cursors).where(cursors.c.name == REMOVED).values(document=document)
        if not change.connection.execute(noted).rowcount:
            change.connection.execute(insert(cursors).values(name=REMOVED, document=document))
        change.announce()
    return len(gone)


def remove_rows(store: Store, *, before: float) -> int:
    """Remove rows that are in the audit log, that nothing names, and that are older; says how many."""
    newest = select(func.max(audit_outbox.c.n)).scalar_subquery()
    named = select(incident_events.c.outbox).union(select(run_steps.c.outbox))
    old = audit_outbox.c.seq.is_not(None) & (audit_outbox.c.at < before) & (audit_outbox.c.n < newest)
    query = select(audit_outbox.c.n).where(old & audit_outbox.c.n.not_in(named)).limit(STEP)
    with store.read() as connection:
        gone = connection.execute(query).scalars().all()
    if gone:
        with store.change(OUTBOX) as change:
            change.connection.execute(delete(audit_outbox).where(audit_outbox.c.n.in_(gone)))
    return len(gone)


def _noted() -> Select[Any]:
    return select(cursors.c.document).where(cursors.c.name == REMOVED)
