"""Who asks, as approvals know them."""

from __future__ import annotations

from airlock.core.errors import Rejected
from airlock.incident.approval import Judged, Person, by_asking, judge
from airlock.model.principal import Principal
from airlock.model.proposal import Order

APPROVERS = frozenset(("admin", "approver"))
"""Roles of those who may approve."""


def person(who: Principal) -> Person:
    """Whoever a credential names. A client that is its own subject is a service account (RFC 9068, 2.2); a
    credential with an actor is used by a program for somebody (RFC 8693)."""
    return Person(
        issuer=who.issuer,
        subject=who.subject,
        approver=not APPROVERS.isdisjoint(who.roles),
        machine=bool(who.actor) or (bool(who.client_id) and who.client_id == who.subject),
        auth_time=who.auth_time,
        acr=who.acr,
    )


def agreed(who: Principal, order: Order | None = None) -> None:
    """Who may approve has agreed by asking. Raises `Rejected` 403 for anybody else, unless the order needs
    nobody's word; `Unfit` for an order that cannot be."""
    judged = Judged("C") if order is None else judge(order, None)
    if not by_asking(judged, person(who)):
        text = "This takes a person with the role approver or admin: propose it, and let one agree."
        raise Rejected(403, -32602, "approver_required", text)
