"""Failing open: when two people may let calls pass although policy answers nothing. Pure but for reading.

1 an incident of P0 or P1 is open, and names why
2 the policy engine is what fails, by rule MCP-024, now
3 tools approved as read-only, and minutes
4 nothing of this kind is in force, and nobody gives the same thing twice in a row
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from airlock.core import ids
from airlock.core.clock import rfc3339
from airlock.model.entry import Event, Personal
from airlock.model.grant import LONGEST, Grant
from airlock.model.incident import Alert, Incident
from airlock.model.lease import Unfit
from airlock.model.principal import one_person
from airlock.model.proposal import Order, Proposal
from airlock.store.incidents import ENDED
from airlock.store.schema import alerts, grants, incidents

ACTION = "failmode.open"

RULE = "MCP-024"
"""Policy engine errors."""

RECENT = 300.0
"""Seconds within which the rule must have seen the engine fail."""


def checked(order: Order) -> Order:
    """The order, complete. Raises `Unfit` `selector_invalid`, `duration_too_long`, `incident_missing`."""
    if order.selector != {"tools": "read-only"}:
        raise Unfit("selector_invalid", f"{ACTION} takes tools=read-only: nothing else ever fails open.")
    ttl = LONGEST if order.ttl is None else order.ttl
    if not 1 <= ttl <= LONGEST:
        raise Unfit("duration_too_long", f"{ACTION} lasts {LONGEST / 60:g} minutes at most.")
    if not order.incident:
        raise Unfit("incident_missing", f"{ACTION} belongs to an open incident of P0 or P1: name it.")
    return msgspec.structs.replace(order, ttl=ttl)


def allow(connection: Connection, order: Order, *, now: float) -> None:
    """Raise `Unfit` where a checked order must not be carried out at this time (1, 2)."""
    query = select(incidents.c.document).where(incidents.c.id == order.incident)
    document = connection.execute(query).scalar()
    incident = None if document is None else msgspec.json.decode(document, type=Incident)
    if incident is None or incident.status in (*ENDED, "RESOLVED", "IN_REVIEW"):
        raise Unfit("incident_missing", f"{ACTION} needs an open incident; {order.incident} is none.")
    if incident.severity not in ("P0", "P1"):
        raise Unfit("severity_too_low", f"{ACTION} needs a P0 or P1; {incident.id} is {incident.severity}.")
    query = select(alerts.c.document).where((alerts.c.rule == RULE) & (alerts.c.last_seen >= now - RECENT))
    seen = [msgspec.json.decode(each, type=Alert) for each in connection.execute(query).scalars()]
    if not any(alert.state not in ("DISMISSED", "RESOLVED") for alert in seen):
        text = f"The policy engine answers: {RULE} has not fired in the last {RECENT / 60:g} minutes."
        raise Unfit("engine_healthy", text)


def grant(connection: Connection, proposal: Proposal, *, now: float) -> Grant:
    """The grant of an approved proposal. Raises `Unfit` as `allow` does, and `approver_repeated` for the two
    who gave the grant before (4)."""
    order = proposal.order
    allow(connection, order, now=now)
    people = tuple(sorted(given.person for given in proposal.approvals))
    query = select(grants.c.document).where(grants.c.incident == order.incident)
    before = [msgspec.json.decode(each, type=Grant) for each in connection.execute(query).scalars()]
    if _same_two(_last(before), people):
        raise Unfit(
            "approver_repeated", "You two gave the grant before this one: somebody else has to agree."
        )
    return Grant(
        id=ids.uuid7(),
        scope="fail_open",
        incident=order.incident,
        proposal=proposal.id,
        people=people,
        reason=order.reason,
        granted_at=now,
        expires_at=now + (order.ttl or LONGEST),
    )


def row(proposal: Proposal, given: Grant | None, who: str) -> Event:
    """The row of a grant, or (None) of somebody who tried to approve the same loosening twice."""
    people = [one.person for one in proposal.approvals]
    about: dict[str, object] = {"proposal": proposal.id, "kind": proposal.order.action}
    if given is not None:
        about |= {"grant": given.id, "expires_at": rfc3339(given.expires_at)}
    return Event(
        event_type="admin",
        action="approval",
        correlation_id=proposal.order.incident,
        reason="grant_given" if given is not None else "self_approval_refused",
        severity="CRITICAL",
        metadata=about,
        personal=Personal(subject=who, actor=tuple(people)),
    )


def _same_two(before: Sequence[str], people: Sequence[str]) -> bool:
    return bool(before) and all(any(one_person(one, other) for other in before) for one in people)


def _last(several: Sequence[Grant]) -> tuple[str, ...]:
    newest = max(several, key=lambda each: each.granted_at, default=None)
    return () if newest is None else newest.people
