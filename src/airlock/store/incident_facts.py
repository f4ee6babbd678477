"""What the control data know of an incident besides its record: leases, grants, debts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Exists, Select, String, cast, exists, func, literal, select, update

from airlock.model.lease import Action, Lease, Selector
from airlock.store import grants as grants_store
from airlock.store import lease_rows
from airlock.store.changes import LEASES, Change
from airlock.store.database import Store
from airlock.store.lease_events import LeaseEvent
from airlock.store.schema import debts, grants, incident_events, incidents, lease_events, leases

AT_ONCE = 256
"""Events of one read."""


ENFORCED = "enforced:"
"""How the key of an event begins that says that every worker enforces a lease."""


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a lease, with its number in the store."""

    n: int
    happened: LeaseEvent


def once(n: int) -> str:
    """The key that an event of a timeline has for this event of a lease."""
    return f"lease:{n}"


def leases_of(store: Store, incident: str, *, now: float) -> list[Lease]:
    """The leases of an incident, ended ones too, the oldest first."""
    return _leases(store, select(leases).where(leases.c.incident == incident), now)


def leases_since(store: Store, action: Action, *, since: float, now: float) -> list[Lease]:
    """The leases of one action that were given since, the oldest first."""
    return _leases(
        store, select(leases).where((leases.c.action == action) & (leases.c.created_at >= since)), now
    )


def extended_at(store: Store, incident: str) -> dict[str, float]:
    """When each lease of an incident was last extended, by its id."""
    query = (
        select(lease_events.c.lease_id, func.max(lease_events.c.at).label("at"))
        .join(leases, leases.c.id == lease_events.c.lease_id)
        .where((leases.c.incident == incident) & (lease_events.c.event == "lease_extended"))
        .group_by(lease_events.c.lease_id)
    )
    with store.read() as connection:
        return {row.lease_id: row.at for row in connection.execute(query)}


def untold(store: Store, incident: str) -> list[Numbered]:
    """What happened to leases of an incident and stands on no timeline, the oldest first."""
    query = (
        select(lease_events)
        .join(leases, leases.c.id == lease_events.c.lease_id)
        .where((leases.c.incident == incident) & ~_told())
        .order_by(lease_events.c.n)
        .limit(AT_ONCE)
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
        ids = {row.lease_id for row in rows}
        found = connection.execute(select(leases).where(leases.c.id.in_(ids)))
        known = {row.id: lease_rows.plain(row) for row in found}
    return [
        Numbered(
            n=row.n,
            happened=LeaseEvent(
                event=row.event,
                lease=known[row.lease_id],
                at=row.at,
                actor=row.actor,
                reason=row.reason,
                epoch=row.epoch,
            ),
        )
        for row in rows
    ]


def enforced(store: Store, incident: str) -> frozenset[str]:
    """The leases of which the timeline says that every worker enforces them."""
    query = select(incident_events.c.once).where(
        (incident_events.c.incident == incident)
        & incident_events.c.once.startswith(ENFORCED, autoescape=True)
    )
    with store.read() as connection:
        return frozenset(key.removeprefix(ENFORCED) for key in connection.execute(query).scalars())


def with_news(store: Store) -> list[str]:
    """The incidents to whose leases something happened that stands on no timeline."""
    query = (
        select(leases.c.incident)
        .join(lease_events, lease_events.c.lease_id == leases.c.id)
        .join(incidents, incidents.c.id == leases.c.incident)
        .where(~_told())
        .distinct()
    )
    with store.read() as connection:
        return list(connection.execute(query).scalars())


def move(change: Change, *, source: str, target: str) -> int:
    """Let the leases of one incident belong to another; says how many they are."""
    moved = update(leases).where(leases.c.incident == source).values(incident=target)
    count = change.connection.execute(moved).rowcount
    if count:
        Change(change.connection, LEASES).announce()
    return count


def adopt(
    change: Change, *, target: str, rule: str, wanted: Collection[tuple[Action, Selector]], now: float
) -> int:
    """Let leases in force that a rule gave, and that belong to no incident yet, belong to one; says how many
    they are. `wanted`: what the rule answers to the alert that joined the incident."""
    found = change.connection.execute(
        select(leases).where(
            (leases.c.incident == "")
            & (leases.c.state == "active")
            & (leases.c.origin == "detector")
            & (leases.c.actor == rule)
        )
    )
    standing = (lease_rows.standing(row, now) for row in found)
    ids = [each.id for each in standing if each.state == "active" and (each.action, each.selector) in wanted]
    if ids:
        change.connection.execute(update(leases).where(leases.c.id.in_(ids)).values(incident=target))
        Change(change.connection, LEASES).announce()
    return len(ids)


def grants_of(store: Store, incident: str, *, now: float) -> tuple[str, ...]:
    """The loosening grants of an incident that are in force."""
    this = (grants.c.incident == incident) & grants.c.ended_at.is_(None) & (grants.c.expires_at > now)
    with store.read() as connection:
        return tuple(connection.execute(select(grants.c.id).where(this).order_by(grants.c.id)).scalars())


def uncounted(store: Store, incident: str) -> tuple[str, ...]:
    """The loosening grants of an incident of which nobody knows yet that every call is noted."""
    given = grants_store.listing(store, incident=incident)
    return tuple(grant.id for grant in given if grant.counted_at is None)


def debt_of(store: Store, incident: str) -> int:
    """How many calls that a grant let through nobody has judged."""
    this = (debts.c.incident == incident) & (debts.c.state == "open")
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(debts).where(this)).scalar_one()


def _told() -> Exists:
    """Whether an event of a lease stands on the timeline of its incident."""
    return exists().where(
        (incident_events.c.incident == leases.c.incident)
        & (incident_events.c.once == literal("lease:") + cast(lease_events.c.n, String))
    )


def _leases(store: Store, query: Select[Any], now: float) -> list[Lease]:
    with store.read() as connection:
        found = connection.execute(query.order_by(leases.c.epoch))
        return [lease_rows.standing(row, now) for row in found]
