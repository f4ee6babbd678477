"""Tokens and subjects that count no more, until the credential itself would have ended or for good.

Revoking again only ever prolongs. What has expired is ignored by readers and dropped by `prune`.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import ColumnElement, delete, insert, or_, select, update

from airlock.model.snapshot import Revocations
from airlock.store import sessions
from airlock.store.changes import REVOCATIONS, SESSIONS, versions
from airlock.store.database import Store
from airlock.store.schema import revocations

_SUBJECT = msgspec.json.Decoder(tuple[str, str, str])


def revoke_token(
    store: Store, *, token_id: str, reason: str, now: float, expires_at: float | None = None
) -> None:
    """Refuse the token with this `jti` from now on, until `expires_at` (Unix seconds) or for good."""
    _revoke(store, kind="token", value=token_id, reason=reason, now=now, expires_at=expires_at)


def revoke_subject(
    store: Store,
    *,
    tenant: str,
    issuer: str,
    subject: str,
    reason: str,
    now: float,
    expires_at: float | None = None,
) -> None:
    """Refuse every token of this subject from now on, until `expires_at` (Unix seconds) or for good."""
    value = msgspec.json.encode((tenant, issuer, subject)).decode()
    _revoke(store, kind="subject", value=value, reason=reason, now=now, expires_at=expires_at)


def load(store: Store, *, now: float) -> Revocations:
    """The part `revocations` of a snapshot, ended sessions included.

    The versions are read first: what is committed meanwhile may be in the picture already, never missed.
    """
    query = select(revocations.c.kind, revocations.c.value).where(_holds(now))
    with store.read() as connection:
        parts = versions(connection)
        rows = list(connection.execute(query))
        ended = sessions.ended(connection, now=now)
    return Revocations(
        token_ids=frozenset(row.value for row in rows if row.kind == "token"),
        subjects=frozenset(_SUBJECT.decode(row.value) for row in rows if row.kind == "subject"),
        sessions=ended,
        version=parts[REVOCATIONS] + parts[SESSIONS],
    )


def prune(store: Store, *, now: float) -> int:
    """Drop what has expired and say how much it was. Nothing is announced: readers ignored it already."""
    with store.change(REVOCATIONS) as change:
        return change.connection.execute(delete(revocations).where(~_holds(now))).rowcount


def _holds(now: float) -> ColumnElement[bool]:
    return or_(revocations.c.expires_at.is_(None), revocations.c.expires_at > now)


def _revoke(
    store: Store,
    *,
    kind: Literal["token", "subject"],
    value: str,
    reason: str,
    now: float,
    expires_at: float | None,
) -> None:
    this = (revocations.c.kind == kind) & (revocations.c.value == value)
    with store.change(REVOCATIONS) as change:
        before = change.connection.execute(select(revocations.c.expires_at).where(this)).first()
        if before is None:
            row = {"kind": kind, "value": value, "reason": reason, "at": now, "expires_at": expires_at}
            change.connection.execute(insert(revocations).values(**row))
        elif before.expires_at is not None and (expires_at is None or expires_at > before.expires_at):
            change.connection.execute(
                update(revocations).where(this).values(reason=reason, expires_at=expires_at)
            )
        else:
            return
        change.announce()
