"""Loosening grants and the calls that they let through. One grant is in force per scope."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
from sqlalchemy import Connection, insert, select, update

from airlock.model.grant import Debt, DebtState, Grant, Grants
from airlock.model.incident import IncidentEvent
from airlock.model.lease import Unfit
from airlock.store import incidents
from airlock.store.changes import GRANTS, INCIDENTS, Change, versions
from airlock.store.database import Store
from airlock.store.schema import debts, grants

_grant = msgspec.json.Decoder(Grant).decode
_debt = msgspec.json.Decoder(Debt).decode


def give(change: Change, grant: Grant) -> None:
    """A grant that counts from the commit on. `change` is of the part `grants`. Raises `Unfit` `grant_active`
    where its scope has one."""
    for other in _held(change.connection, grant.granted_at):
        if other.scope == grant.scope:
            raise Unfit(
                "grant_active", f"Grant {other.id} is in force; it is not extended, and ends by itself."
            )
    change.connection.execute(insert(grants).values(**_row(grant)))
    change.announce()


def end(
    store: Store, *, id: str, by: str, reason: str, now: float, told: Callable[[Grant], IncidentEvent]
) -> Grant:
    """End a grant before its time, and say so on the timeline of its incident. Raises `Unfit`:
    `grant_unknown`, `grant_ended`."""
    with store.change(GRANTS) as change:
        document = change.connection.execute(select(grants.c.document).where(grants.c.id == id)).scalar()
        if document is None:
            raise Unfit("grant_unknown", f"There is no grant {id[:64]!r}.")
        grant = _grant(document)
        if not grant.holds(now):
            raise Unfit("grant_ended", "This grant is over.")
        ended = msgspec.structs.replace(grant, ended_at=now, ended_by=by, end_reason=reason)
        change.connection.execute(update(grants).where(grants.c.id == id).values(**_row(ended)))
        change.announce()
        _tell(change, ended.incident, told(ended))
    return ended


def counted(store: Store, *, id: str, now: float) -> None:
    """Note that every call is known that passed by a grant which is over."""
    this = grants.c.id == id
    with store.change(GRANTS) as change:
        grant = _grant(change.connection.execute(select(grants.c.document).where(this)).scalar_one())
        grant = msgspec.structs.replace(grant, counted_at=now)
        change.connection.execute(update(grants).where(this).values(**_row(grant)))


def listing(store: Store, *, incident: str = "") -> list[Grant]:
    """Grants in the order of their giving, ended ones too; of one incident, or all."""
    query = select(grants.c.document).order_by(grants.c.id)
    if incident:
        query = query.where(grants.c.incident == incident)
    with store.read() as connection:
        return [_grant(document) for document in connection.execute(query).scalars()]


def load(store: Store, *, now: float) -> Grants:
    """The part `grants` of a snapshot."""
    with store.read() as connection:
        return Grants(held=tuple(_held(connection, now)), epoch=versions(connection)[GRANTS])


def unknown(item: str) -> Unfit:
    """There is no such call."""
    return Unfit("debt_unknown", f"No grant of this incident let a call {item[:64]!r} pass.")


def owe(store: Store, several: Sequence[Debt]) -> int:
    """Note calls that a grant let through; one that is known stays as it is. Returns how many are fresh."""
    fresh = 0
    with store.change(GRANTS) as change:
        for debt in several:
            known = select(debts.c.id).where(debts.c.id == debt.id)
            if change.connection.execute(known).first() is None:
                change.connection.execute(insert(debts).values(**_debt_row(debt)))
                fresh += 1
    return fresh


def settle(
    store: Store, several: Iterable[Debt], *, incident: str, told: Callable[[Sequence[Debt]], IncidentEvent]
) -> None:
    """The debts of an incident as they were judged, and what its timeline says of that. What people settled
    meanwhile stays, and so does who waived."""
    with store.change(GRANTS) as change:
        done: list[Debt] = []
        for debt in several:
            found = _owed(change, debt.id)
            if found is not None and found.state == "open":
                done.append(msgspec.structs.replace(debt, waivers=found.waivers))
                _put(change, done[-1])
        if done:
            _tell(change, incident, told(done))


def waive(
    store: Store,
    *,
    incident: str,
    id: str,
    decide: Callable[[Debt], Debt],
    told: Callable[[Debt], IncidentEvent],
) -> Debt:
    """Apply a decision to a debt of an incident, and say so on its timeline. Raises `Unfit` `debt_unknown`,
    and what `decide` raises."""
    with store.change(GRANTS) as change:
        found = _owed(change, id)
        if found is None or found.incident != incident:
            raise unknown(id)
        after = decide(found)
        _put(change, after)
        _tell(change, incident, told(after))
    return after


def debt(store: Store, *, incident: str = "", grant: str = "", state: DebtState | None = None) -> list[Debt]:
    """Calls that grants let through, the oldest first."""
    query = select(debts.c.document).order_by(debts.c.id)
    for column, value in ((debts.c.incident, incident), (debts.c.grant_id, grant), (debts.c.state, state)):
        if value:
            query = query.where(column == value)
    with store.read() as connection:
        return [_debt(document) for document in connection.execute(query).scalars()]


def _held(connection: Connection, now: float) -> list[Grant]:
    this = grants.c.ended_at.is_(None) & (grants.c.expires_at > now)
    return [_grant(each) for each in connection.execute(select(grants.c.document).where(this)).scalars()]


def _tell(change: Change, incident: str, event: IncidentEvent) -> None:
    incidents.append(Change(change.connection, INCIDENTS), incident, [event])


def _owed(change: Change, id: str) -> Debt | None:
    document = change.connection.execute(select(debts.c.document).where(debts.c.id == id)).scalar()
    return None if document is None else _debt(document)


def _put(change: Change, debt: Debt) -> None:
    change.connection.execute(update(debts).where(debts.c.id == debt.id).values(**_debt_row(debt)))


def _row(grant: Grant) -> dict[str, object]:
    return {
        "id": grant.id,
        "scope": grant.scope,
        "incident": grant.incident,
        "expires_at": grant.expires_at,
        "ended_at": grant.ended_at,
        "document": msgspec.json.encode(grant).decode(),
    }


def _debt_row(debt: Debt) -> dict[str, object]:
    return {
        "id": debt.id,
        "grant_id": debt.grant,
        "incident": debt.incident,
        "state": debt.state,
        "document": msgspec.json.encode(debt).decode(),
    }
