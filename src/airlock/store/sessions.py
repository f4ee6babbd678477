"""Legacy sessions that ended before their own end: by DELETE, by an operator, or with their token.

A session id is a sealed value that every worker can open, so its end must be known to every worker too.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from airlock.store.changes import SESSIONS
from airlock.store.database import Store
from airlock.store.schema import ended_sessions


def end(store: Store, *, sid: str, expires_at: float) -> bool:
    """Refuse this session from now on; `expires_at` (Unix seconds) is its own end. False: it ended before."""
    with store.change(SESSIONS) as change:
        known = select(ended_sessions.c.sid).where(ended_sessions.c.sid == sid)
        if change.connection.execute(known).first() is not None:
            return False
        change.connection.execute(insert(ended_sessions).values(sid=sid, expires_at=expires_at))
        change.announce()
        return True


def ended(connection: Connection, *, now: float) -> frozenset[str]:
    """Sessions that must be refused although their ids still open."""
    return frozenset(
        connection.scalars(select(ended_sessions.c.sid).where(ended_sessions.c.expires_at > now))
    )


def prune(store: Store, *, now: float) -> int:
    """Drop sessions that would have ended by now anyway, and say how many."""
    with store.change(SESSIONS) as change:
        return change.connection.execute(
            delete(ended_sessions).where(ended_sessions.c.expires_at <= now)
        ).rowcount
