"""Proposals with the store beside them: made, tried on the past, approved and carried out, declined.

An approval that completes a proposal carries it out in the same transaction: what people agreed to happens
as they saw it, once, or their approvals are not used.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import select

from airlock.audit import past
from airlock.core import ids
from airlock.incident import approval, loosening, rejudge, replay, rollback
from airlock.incident.approval import Person
from airlock.model.incident import Actor, Alert
from airlock.model.lease import Unfit, read_action, read_selector
from airlock.model.proposal import LOOSENING, Order, Prediction, Proposal
from airlock.policy import kept as policies
from airlock.store import grants, leases, outbox, revisions, servers
from airlock.store import proposals as kept
from airlock.store.changes import GRANTS, OUTBOX, Change
from airlock.store.database import Store
from airlock.store.leases import Activated
from airlock.store.schema import alerts
from airlock.store.servers import disabling

MINUTES = 60
"""Of recorded calls that a dry run replays where nothing else is said."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal after a decision, and the leases that it changed."""

    proposal: Proposal
    changed: tuple[Activated, ...] = ()


def completed(store: Store, data: Path, order: Order) -> Order:
    """The order with what it leaves open filled in, and fit. `data`: the data directory. Raises `Unfit`."""
    if order.action == rollback.ACTION:
        with store.read() as connection:
            changes = [each for each in revisions.listing(connection) if each.kind != "refused"]
        decided = {revision for each in changes for revision in (each.revision, each.before)}
        order = rollback.resolved(order, changes, policies.names(data) & decided)
    return approval.checked(order)


def propose(
    store: Store, order: Order, *, by: Actor, now: float, prediction: Prediction | None = None
) -> Proposal:
    """Keep an order that needs somebody's word. Raises `Unfit` for what cannot be done at all."""
    fit = approval.checked(order)
    if fit.action == rollback.ACTION:
        with store.read() as connection:
            rollback.allow(connection, fit)
    if fit.action == loosening.ACTION:
        with store.read() as connection:
            loosening.allow(connection, fit, now=now)
    return kept.create(store, approval.propose(ids.uuid7(), fit, by, prediction, now))


def predict(
    store: Store, log: Path, order: Order, *, now: float, minutes: int = MINUTES
) -> Prediction | None:
    """What a checked order would have done in these minutes; None for one that loosens: what was refused
    left no calls to replay. A rollback is tried on `MINUTES` at least: who agrees depends on it.

    Raises `sqlite3.Error`, `ConfigError` for a policy that is not kept.
    """
    if order.action == rollback.ACTION:
        since, incident = now - 60.0 * max(minutes, MINUTES), _rows_of(store, order.incident)
        return rejudge.predict(log.parent, order.selector, since=since, until=now, incident=incident)
    if order.action in LOOSENING:
        return None
    action, since = read_action(order.action), now - 60.0 * minutes
    calls, truncated = past.calls(log, since=since, until=now)
    return replay.predict(
        calls,
        action=action,
        selector=read_selector(action, order.selector),
        since=since,
        until=now,
        incident=_rows_of(store, order.incident),
        truncated=truncated,
    )


def again(store: Store, id: str, prediction: Prediction, *, by: Actor, now: float) -> Proposal:
    """Note another dry run. Raises `Unfit`."""
    return kept.change(
        store, id, lambda _, proposal: approval.predicted(proposal, prediction, now), actor=by, now=now
    )


def approve(store: Store, id: str, seen: str, who: Person, *, now: float) -> Outcome:
    """Add an approval, and carry the proposal out once it has all that it needs.

    Raises `Unfit` as `approval.approve` does, and as the lease does that cannot be given.
    """
    changed: list[Activated] = []

    def decide(change: Change, before: Proposal) -> Proposal:
        proposal = approval.approve(before, seen, who, now)
        if proposal.state != "APPROVED":
            return proposal
        if proposal.order.action == loosening.ACTION:
            leases.thawed(change, now)
            given = loosening.grant(change.connection, proposal, now=now)
            grants.give(Change(change.connection, GRANTS), given)
            outbox.leave(change.connection, loosening.row(proposal, given, who.id), at=now)
            return approval.carried_out(proposal, given.id, who.id, now)
        if proposal.order.action == rollback.ACTION:
            return approval.carried_out(proposal, rollback.order(change, proposal, now=now), who.id, now)
        changed.extend(_carry_out(change, proposal, now))
        return approval.carried_out(proposal, changed[0].lease.id, who.id, now)

    actor = Actor(type="human", id=who.id)
    try:
        proposal = kept.change(store, id, decide, actor=actor, now=now)
    except Unfit as unfit:
        if unfit.reason == "approved_already":
            _tried_twice(store, id, who, now)
        raise
    return Outcome(proposal=proposal, changed=tuple(changed))


def _tried_twice(store: Store, id: str, who: Person, now: float) -> None:
    """One person who tries to be two: that is in the log, although nothing came of it."""
    proposal = kept.get(store, id)
    if proposal is not None and proposal.needs == "D":
        with store.change(OUTBOX) as change:
            outbox.leave(change.connection, loosening.row(proposal, None, who.id), at=now)


def reject(store: Store, id: str, who: Person, reason: str, *, now: float) -> Proposal:
    """Decline a proposal for good. Raises `Unfit`."""
    actor = Actor(type="agent" if who.machine else "human", id=who.id)
    return kept.change(
        store, id, lambda _, proposal: approval.reject(proposal, who, reason, now), actor=actor, now=now
    )


def _carry_out(change: Change, proposal: Proposal, now: float) -> list[Activated]:
    order, who = proposal.order, " and ".join(one.person for one in proposal.approvals)
    if order.action == "lease.release":
        servers.contained(change, [order.selector["lease"]])
        return [leases.release(change, id=order.selector["lease"], actor=who, reason=order.reason, now=now)]
    if order.action == "server.restore":
        held = disabling(leases.in_force(change, action="server.disable", now=now), order.selector["server"])
        if not held:
            raise Unfit("lease_unknown", "This server is in service: there is nothing to take back.")
        return [leases.release(change, id=each.id, actor=who, reason=order.reason, now=now) for each in held]
    action = read_action(order.action)
    given = leases.activate(
        change,
        action=action,
        selector=read_selector(action, order.selector),
        ttl=order.ttl,
        reason=order.reason,
        actor=who,
        origin="api",
        now=now,
        incident=order.incident,
    )
    return [given]


def _rows_of(store: Store, incident: str) -> frozenset[str]:
    """Ids of the rows that the alerts of an incident name."""
    if not incident:
        return frozenset()
    query = select(alerts.c.document).where(alerts.c.incident == incident)
    with store.read() as connection:
        documents = connection.execute(query).scalars().all()
    found = (msgspec.json.decode(document, type=Alert) for document in documents)
    return frozenset(id for alert in found for id in alert.event_ids)
