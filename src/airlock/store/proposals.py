"""Proposals: kept, decided, and told to the audit log and to the timeline of their incident.

A decision is a pure function of the proposal; it is applied in one transaction with what it brings about,
such as a lease, so that no approval is used twice and none is used up for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Select, insert, select, update

from airlock.core.clock import timestamp
from airlock.mcp import strict
from airlock.model.entry import Event, Personal
from airlock.model.incident import Actor, IncidentEvent, Kind
from airlock.model.lease import Unfit
from airlock.model.proposal import Proposal
from airlock.store import incidents, outbox
from airlock.store.changes import INCIDENTS, LEASES, Change
from airlock.store.database import Store
from airlock.store.schema import incidents as records
from airlock.store.schema import proposals

Decide = Callable[[Change, Proposal], Proposal]
"""What becomes of a proposal, and what that brings about in the same transaction. Raises `Unfit`."""

_proposal = msgspec.json.Decoder(Proposal).decode

_KINDS: dict[str, Kind] = {
    "proposed": "containment_proposed",
    "approved": "containment_approved",
    "rejected": "decision",
}
"""On the timeline of an incident, by what happened."""


def create(store: Store, proposal: Proposal) -> Proposal:
    """Keep a new proposal."""
    with store.change(LEASES) as change:
        change.connection.execute(insert(proposals).values(**_row(proposal)))
        _tell(change, proposal, "proposed", proposal.by, proposal.created_at)
    return proposal


def change(
    where: Store, id: str, decide: Decide, *, actor: Actor, now: float, expected: int | None = None
) -> Proposal:
    """Apply a decision. `expected`: the version that it is about; None: whichever.

    Raises `Unfit`: `proposal_unknown`, `version_conflict`; and what `decide` raises, which changes nothing.
    """
    with where.change(LEASES) as change:
        before = _found(change, id)
        if before is None:
            raise unknown()
        if expected is not None and before.version != expected:
            raise Unfit("version_conflict", f"The proposal is at version {before.version}: read it again.")
        after = msgspec.structs.replace(decide(change, before), version=before.version + 1)
        this = proposals.c.id == id
        change.connection.execute(update(proposals).where(this).values(**_row(after)))
        _tell(change, after, _happened(before, after), actor, now)
    return after


def get(store: Store, id: str) -> Proposal | None:
    """One proposal as it was last written; None where there is none of this id."""
    with store.read() as connection:
        document = connection.execute(select(proposals.c.document).where(proposals.c.id == id)).scalar()
    return None if document is None else _proposal(document)


def listing(store: Store, *, incident: str = "", limit: int = 1000) -> list[Proposal]:
    """Proposals as they were last written, the newest first."""
    query: Select[Any] = select(proposals.c.document).order_by(
        proposals.c.created_at.desc(), proposals.c.id.desc()
    )
    if incident:
        query = query.where(proposals.c.incident == incident)
    with store.read() as connection:
        return [_proposal(document) for document in connection.execute(query.limit(limit)).scalars()]


def unknown() -> Unfit:
    """There is no such proposal."""
    return Unfit("proposal_unknown", "There is no proposal of this id.")


def _happened(before: Proposal, after: Proposal) -> str:
    if after.state == "REJECTED":
        return "rejected"
    if after.state == "ACTIVE":
        return "carried_out"
    return "approved" if len(after.approvals) > len(before.approvals) else "predicted"


def _tell(change: Change, proposal: Proposal, happened: str, actor: Actor, now: float) -> None:
    """A row for the audit log, and a line on the timeline where the proposal belongs to an incident."""
    outbox.leave(change.connection, event_of(proposal, happened, actor, now), at=now)
    kind, id = _KINDS.get(happened), proposal.order.incident
    if happened == "carried_out":
        kind = "containment_approved"
    known = id and change.connection.execute(select(records.c.id).where(records.c.id == id)).first()
    if kind is None or not known:
        return
    event = IncidentEvent(
        kind=kind,
        at=now,
        occurred_at=now,
        actor=actor,
        summary=f"{proposal.order.action} {happened.replace('_', ' ')}: {proposal.order.reason}",
        details={
            "proposal": proposal.id,
            "action": proposal.order.action,
            "selector": proposal.order.selector,
            "class": proposal.needs,
            "digest": proposal.digest,
            "lease": proposal.lease,
        },
        refs=(proposal.id,),
        csf="RS",
    )
    incidents.append(Change(change.connection, INCIDENTS), id, [event])


def event_of(proposal: Proposal, happened: str, actor: Actor, now: float) -> Event:
    """The row: which proposal, its class and state. Who asked, and for what, can be erased."""
    about = strict.canonical(msgspec.to_builtins(proposal.order))
    return Event(
        event_type="admin",
        action="approval",
        correlation_id=proposal.order.incident or proposal.id,
        reason=happened,
        severity="MEDIUM" if happened in ("approved", "carried_out") else "LOW",
        occurred_at=timestamp(now),
        metadata={
            "proposal": proposal.id,
            "kind": proposal.order.action,
            "class": proposal.needs,
            "state": proposal.state,
            "digest": proposal.digest,
            "approvals": len(proposal.approvals),
            "actor_type": actor.type,
            "lease_id": proposal.lease,
        },
        personal=Personal(subject=actor.id, arguments=about),
    )


def _found(change: Change, id: str) -> Proposal | None:
    query = select(proposals.c.document).where(proposals.c.id == id)
    document = change.connection.execute(query).scalar()
    return None if document is None else _proposal(document)


def _row(proposal: Proposal) -> dict[str, object]:
    return {
        "id": proposal.id,
        "state": proposal.state,
        "incident": proposal.order.incident,
        "created_at": proposal.created_at,
        "version": proposal.version,
        "document": msgspec.json.encode(proposal).decode(),
    }
