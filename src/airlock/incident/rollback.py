"""Going back to a policy that decided before. Pure but for reading and for the order itself.

1 from what decides to a policy that is kept, both by their whole revision: that is what people agree to
2 it loosens where calls that are refused would pass, or with fewer obligations, or where nobody can say
3 the order is a change in the store; every process that chooses a policy goes by it
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec
from sqlalchemy import Connection

from airlock.model.lease import Unfit
from airlock.model.proposal import Order, Prediction, Proposal
from airlock.model.revision import Revision, previous
from airlock.store import leases, outbox, revisions
from airlock.store.changes import POLICY, Change

ACTION = "policy.rollback"

PREVIOUS = "previous"

_PART = re.compile(r"[0-9a-f]{8,64}")


def checked(order: Order) -> Order:
    """The order, complete. Raises `Unfit` `selector_invalid`."""
    if order.selector.keys() != {"from", "to"} or order.ttl is not None:
        raise Unfit("selector_invalid", f"{ACTION} takes to={PREVIOUS} or a revision, and no duration.")
    return order


def resolved(order: Order, changes: list[Revision], kept: Collection[str]) -> Order:
    """The order with both revisions in full. `changes`: those that were not refused, the oldest first;
    `kept`: what there is to go back to.

    Raises `Unfit`: `selector_invalid`, `revision_unknown`, `revision_in_force`.
    """
    wanted = order.selector.get("to", "")
    if order.selector.keys() - {"from"} != {"to"} or not (wanted == PREVIOUS or _PART.fullmatch(wanted)):
        text = f"{ACTION} takes to={PREVIOUS}, or 8 to 64 hexadecimal digits of a revision."
        raise Unfit("selector_invalid", text)
    found = [previous(changes)] if wanted == PREVIOUS else [each for each in kept if each.startswith(wanted)]
    if len(found) != 1 or found[0] not in kept:
        raise Unfit("revision_unknown", f"No one policy is kept that {wanted} names: `airlock policy diff`.")
    current = changes[-1].revision if changes else ""
    if found[0] == current:
        raise Unfit("revision_in_force", f"{current[:12]} decides already.")
    return msgspec.structs.replace(order, selector={"from": current, "to": found[0]})


def allow(connection: Connection, order: Order) -> None:
    """Raise `Unfit` `approval_void` where another policy decides by now than the order goes from (1)."""
    last = revisions.last(connection)
    current = "" if last is None else last.revision
    if current != order.selector["from"]:
        raise Unfit("approval_void", f"Another policy decides by now, {current[:12]}: ask again.")


def loosens(prediction: Prediction | None, unknown: float) -> tuple[str, ...]:
    """Why a rollback lets more pass; empty: it only tightens (2). `unknown`: the share of calls that may
    be untold."""
    if prediction is None:
        return ("there is no log to try it on",)
    why: list[str] = []
    if prediction.opened:
        why.append(f"{prediction.opened} calls would pass that are refused, or with fewer obligations")
    if not prediction.requests:
        why.append("there is no recorded call to try it on")
    if prediction.truncated:
        why.append(f"more calls were made than the {prediction.requests} that it was tried on")
    if prediction.unknown_share > unknown:
        why.append(f"of {prediction.unknown_share:.0%} of the calls nobody can say")
    return tuple(why)


def order(change: Change, proposal: Proposal, *, now: float) -> str:
    """Write the change of an approved proposal, and leave its row (3). Returns the revision.

    Raises `Unfit`: `approval_void`, `admin_frozen`, `policy_frozen`.
    """
    asked, who = proposal.order, " and ".join(one.person for one in proposal.approvals)
    leases.thawed(change, now)
    for lease in leases.in_force(change, action="policy.freeze", now=now):
        raise Unfit("policy_frozen", f"Lease {lease.id} freezes policy: release it first.")
    allow(change.connection, asked)
    rollback = Revision(
        revision=asked.selector["to"],
        before=asked.selector["from"],
        kind="rollback",
        at=now,
        by=who,
        reason=asked.reason,
        incident=asked.incident,
    )
    Change(change.connection, POLICY).announce()
    revisions.add(change.connection, rollback)
    outbox.leave(change.connection, revisions.event_of(rollback, "rollback_ordered"), at=now)
    return rollback.revision
