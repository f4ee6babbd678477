"""Containment leases: given, extended, released, and ended by their time.

A change raises the epoch in its own transaction, so whoever has seen the epoch enforces the change. What
happened is written down beside the lease until a worker has put it into the audit log (`record_events`).
Expiry needs nobody: readers ask the clock, and `expire` only tidies up and tells it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Select, insert, select, update

from airlock.core import ids
from airlock.core.clock import rfc3339
from airlock.model.containment import Leases, compiled
from airlock.model.lease import (
    LONGEST_TEXT,
    RULES,
    Action,
    Lease,
    Origin,
    Selector,
    Unfit,
    read_ttl,
)
from airlock.store.changes import LEASES, Change, versions
from airlock.store.database import Store
from airlock.store.lease_rows import row_of, standing
from airlock.store.schema import lease_events, lease_keys, leases

LONGEST_KEY = 128
"""Characters of an idempotency key."""


class Activated(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that holds, and the epoch from which on it does."""

    lease: Lease
    epoch: int
    repeated: bool = False
    """The idempotency key was known: this is the lease of the first time."""


def activate(
    where: Store | Change,
    *,
    action: Action,
    selector: Selector,
    ttl: float | None,
    reason: str,
    actor: str,
    origin: Origin,
    now: float,
    idempotency_key: str = "",
    incident: str = "",
    for_good: bool = False,
) -> Activated:
    """Give a lease. It is durable and in force when this returns; who enforces it, `replicas.receipt` says.

    In a `Change` it holds when that commits, with whatever else is given there.

    `ttl` in seconds, None for the usual one of the action; `now` Unix seconds. `for_good`: it ends by a
    release only, as the state of a server does. Raises `Unfit`: `duration_too_long`, `duration_invalid`,
    `reason_invalid`, `idempotency_key_invalid`, `setting_held` where another lease holds what only one can,
    `admin_frozen` for capacity while administration is frozen, and where the idempotency key is known,
    `idempotency_conflict` if it was used for something else, `lease_ended` if its lease is over.
    """
    seconds = None if for_good else read_ttl(action, ttl)
    _check_texts(reason, idempotency_key)
    longest = None if for_good else RULES[action].longest
    asked = _digest(action, selector, ttl, incident)
    with _change(where) as change:
        if idempotency_key:
            before = _known(change, actor, idempotency_key, asked, now)
            if before is not None:
                return Activated(lease=before, epoch=before.epoch, repeated=True)
        if RULES[action].alone:
            thawed(change, now)
        for holder in holders(change, action=action, selector=selector, now=now):
            end = "for good" if holder.expires_at is None else f"until {rfc3339(holder.expires_at)}"
            raise Unfit("setting_held", f"Lease {holder.id} holds this setting {end}: release it first.")
        lease = Lease(
            id=ids.uuid7(),
            action=action,
            selector=selector,
            state="active",
            reason=reason,
            actor=actor,
            origin=origin,
            incident=incident,
            created_at=now,
            expires_at=None if seconds is None else now + seconds,
            max_until=None if longest is None else now + longest,
            epoch=_raise_epoch(change),
        )
        change.connection.execute(insert(leases).values(**row_of(lease)))
        if idempotency_key:
            used = {"actor": actor, "key": idempotency_key, "lease_id": lease.id, "digest": asked}
            change.connection.execute(insert(lease_keys).values(**used))
        _happened(change, lease, "lease_applied", actor=actor, reason=reason, at=now, epoch=lease.epoch)
    return Activated(lease=lease, epoch=lease.epoch)


def holders(change: Change, *, action: Action, selector: Selector, now: float) -> list[Lease]:
    """The leases in force that set what only one lease can set, and this one would."""
    rule = RULES[action]
    if not rule.alone:
        return []
    return [
        lease
        for lease in in_force(change, action=action, now=now)
        if any(getattr(lease.selector, field) and getattr(selector, field) for field in rule.sets)
    ]


def in_force(change: Change, *, action: Action, now: float) -> list[Lease]:
    """The leases of one action that hold now, as a transaction sees them."""
    this = (leases.c.action == action) & (leases.c.state == "active")
    found = [standing(row, now) for row in change.connection.execute(select(leases).where(this))]
    return [lease for lease in found if lease.state == "active"]


def thawed(change: Change, now: float) -> None:
    """Raise `Unfit` `admin_frozen` while a lease freezes administration."""
    for lease in in_force(change, action="admin.freeze", now=now):
        text = f"Lease {lease.id} freezes administration: what loosens waits until it is released."
        raise Unfit("admin_frozen", text)


def extend(where: Store | Change, *, id: str, ttl: float, actor: str, reason: str, now: float) -> Activated:
    """Let a lease last `ttl` seconds from now on, at least as long as before.

    Raises `Unfit`: `lease_unknown`, `lease_ended`, `irreversible`, `duration_too_long` beyond its
    `max_until`, `duration_invalid`, `reason_invalid`.
    """
    _check_texts(reason, "")
    with _change(where) as change:
        lease = _in_force(change, id, now)
        if lease.expires_at is None or lease.max_until is None:
            raise Unfit("irreversible", "This lease has no end: there is nothing to extend.")
        if not ttl >= 1:
            raise Unfit("duration_invalid", "A lease lasts 1 second or more.")
        until = max(lease.expires_at, now + ttl)
        if until > lease.max_until:
            left = max(0, int(lease.max_until - now))
            raise Unfit("duration_too_long", f"This lease can last {left} s from now on at most.")
        epoch = _raise_epoch(change)
        change.connection.execute(update(leases).where(leases.c.id == id).values(expires_at=until))
        _happened(change, lease, "lease_extended", actor=actor, reason=reason, at=now, epoch=epoch)
    return Activated(lease=msgspec.structs.replace(lease, expires_at=until), epoch=epoch)


def release(where: Store | Change, *, id: str, actor: str, reason: str, now: float) -> Activated:
    """End a lease before its time; what the others demand still holds. In a `Change`, when that commits.

    Raises `Unfit`: `lease_unknown`, `lease_ended`, `irreversible`, `reason_invalid`, `admin_frozen` while
    administration is frozen and this lease is not what freezes it.
    """
    _check_texts(reason, "")
    with _change(where) as change:
        lease = _in_force(change, id, now)
        if lease.action != "admin.freeze":
            thawed(change, now)
        if RULES[lease.action].longest is None:
            raise Unfit("irreversible", f"{lease.action} cannot be taken back.")
        ended = msgspec.structs.replace(
            lease, state="released", ended_at=now, ended_by=actor, end_reason=reason
        )
        epoch = _raise_epoch(change)
        change.connection.execute(update(leases).where(leases.c.id == id).values(**row_of(ended)))
        _happened(change, ended, "lease_released", actor=actor, reason=reason, at=now, epoch=epoch)
    return Activated(lease=ended, epoch=epoch)


def get(store: Store, *, id: str, now: float) -> Lease | None:
    """One lease as it stands at this time; None where there is none of this id."""
    with store.read() as connection:
        row = connection.execute(select(leases).where(leases.c.id == id)).first()
    return None if row is None else standing(row, now)


def listing(
    store: Store, *, now: float, include_ended: bool = False, action: Action | None = None
) -> list[Lease]:
    """Leases in force, or all, the oldest first."""
    query: Select[Any] = select(leases).order_by(leases.c.epoch)
    if not include_ended:
        query = query.where(leases.c.state == "active")
    if action is not None:
        query = query.where(leases.c.action == action)
    with store.read() as connection:
        found = [standing(row, now) for row in connection.execute(query)]
    return found if include_ended else [lease for lease in found if lease.state == "active"]


def load(store: Store, *, now: float) -> Leases:
    """The part `leases` of a snapshot."""
    with store.read() as connection:
        epoch = versions(connection)[LEASES]
        rows = connection.execute(select(leases).where(leases.c.state == "active"))
        return compiled((standing(row, now) for row in rows), epoch=epoch)


def recorded(store: Store, *, id: str, epoch: int) -> int | None:
    """Where the change of this lease at this epoch stands in the audit log (its `seq`); None: not there
    yet."""
    this = (lease_events.c.lease_id == id) & (lease_events.c.epoch == epoch)
    with store.read() as connection:
        return connection.execute(select(lease_events.c.seq).where(this)).scalar()


def expire(store: Store, *, now: float) -> int:
    """Note the leases whose time is over, each once whoever comes first, and say how many they were."""
    over = (leases.c.state == "active") & (leases.c.expires_at <= now)
    with store.read() as connection:
        if connection.execute(select(leases.c.id).where(over).limit(1)).first() is None:
            return 0
    with store.change(LEASES) as change:
        ended = [standing(row, now) for row in change.connection.execute(select(leases).where(over))]
        epoch = _raise_epoch(change) if ended else 0
        for lease in ended:
            change.connection.execute(update(leases).where(leases.c.id == lease.id).values(**row_of(lease)))
            at = lease.ended_at or now
            _happened(change, lease, "lease_expired", actor="", reason=lease.end_reason, at=at, epoch=epoch)
    return len(ended)


@contextmanager
def _change(where: Store | Change) -> Generator[Change]:
    """A transaction of its own, or the one that runs."""
    if isinstance(where, Change):
        yield where
        return
    with where.change(LEASES) as change:
        yield change


def _known(change: Change, actor: str, key: str, asked: str, now: float) -> Lease | None:
    """The lease that this key made. Raises `Unfit` where the key was used for something else, and where the
    lease is over: whoever asks again would take it for one that holds."""
    this = (lease_keys.c.actor == actor) & (lease_keys.c.key == key)
    used = change.connection.execute(select(lease_keys).where(this)).first()
    if used is None:
        return None
    if used.digest != asked:
        raise Unfit("idempotency_conflict", "This idempotency key was used for something else.")
    row = change.connection.execute(select(leases).where(leases.c.id == used.lease_id)).one()
    lease = standing(row, now)
    if lease.state != "active":
        raise Unfit("lease_ended", f"The lease of this idempotency key is {lease.state}: take another key.")
    return lease


def _in_force(change: Change, id: str, now: float) -> Lease:
    row = change.connection.execute(select(leases).where(leases.c.id == id)).first()
    if row is None:
        raise Unfit("lease_unknown", "There is no lease of this id.")
    lease = standing(row, now)
    if lease.state != "active":
        raise Unfit("lease_ended", f"This lease is {lease.state}.")
    return lease


def _raise_epoch(change: Change) -> int:
    change.advance()
    return versions(change.connection)[LEASES]


def _happened(
    change: Change, lease: Lease, event: str, *, actor: str, reason: str, at: float, epoch: int
) -> None:
    row = {"lease_id": lease.id, "event": event, "at": at, "actor": actor, "reason": reason, "epoch": epoch}
    change.connection.execute(insert(lease_events).values(**row))


def _check_texts(reason: str, key: str) -> None:
    if not reason.strip() or len(reason) > LONGEST_TEXT or not reason.isprintable():
        raise Unfit("reason_invalid", f"Say why, in 1 to {LONGEST_TEXT} printable characters.")
    if len(key) > LONGEST_KEY or not key.isprintable():
        text = f"An idempotency key has 1 to {LONGEST_KEY} printable characters."
        raise Unfit("idempotency_key_invalid", text)


def _digest(action: Action, selector: Selector, ttl: float | None, incident: str) -> str:
    return hashlib.sha256(msgspec.json.encode((action, selector, ttl, incident))).hexdigest()
