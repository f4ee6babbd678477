"""Idempotency keys of the management API: each counts once for who sent it, whichever worker hears it.

1 `claim` writes the key before the change is made
2 `answered` writes the answer after it, or `forget` takes the key back where nothing was changed

Who crashes between 1 and 2 leaves a key without an answer; after `UNANSWERED` seconds it can be used again.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select, update

from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from airlock.store.schema import api_keys_used as used

UNANSWERED = 60.0
"""Seconds after which nobody works on an answer any more."""

KEPT = 24 * 3600.0
"""Seconds for which an answer is kept."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the wish to use a key."""

    fresh: bool
    """It is the caller's: make the change."""
    digest: str = ""
    """Of the request that used it before."""
    status: int = 0
    """Of the answer to that; 0: there is none yet."""
    body: str = ""


def claim(store: Store, *, actor: str, key: str, digest: str, now: float) -> Claim:
    """Take a key, or learn who has it. `now` Unix seconds. Raises `Fault`."""
    this = (used.c.actor == actor) & (used.c.key == key)
    with store.change(INCIDENTS) as change:
        over = (used.c.at < now - KEPT) | ((used.c.status == 0) & (used.c.at < now - UNANSWERED))
        change.connection.execute(delete(used).where(over))
        row = change.connection.execute(select(used).where(this)).one_or_none()
        if row is not None:
            return Claim(fresh=False, digest=row.digest, status=row.status, body=row.body)
        values = {"actor": actor, "key": key, "digest": digest, "at": now, "status": 0, "body": ""}
        change.connection.execute(insert(used).values(**values))
    return Claim(fresh=True)


def answered(store: Store, *, actor: str, key: str, status: int, body: str) -> None:
    """Keep the answer. Raises `Fault`."""
    this = (used.c.actor == actor) & (used.c.key == key)
    with store.change(INCIDENTS) as change:
        change.connection.execute(update(used).where(this).values(status=status, body=body))


def forget(store: Store, *, actor: str, key: str) -> None:
    """Take the key back: nothing was changed. Raises `Fault`."""
    with store.change(INCIDENTS) as change:
        this = (used.c.actor == actor) & (used.c.key == key)
        change.connection.execute(delete(used).where(this))
