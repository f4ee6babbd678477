"""What is watched after an incident: for how long, and what opens it again.

An incident that is resolved is watched as long as a lease `monitoring.enhance` of it holds. The same rule or
the same party again, calls that fail at a rate, or a gateway that does not answer say that it is not over.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from airlock.core import ids
from airlock.incident import lifecycle
from airlock.incident.guard import GuardFailed, Missing
from airlock.incident.occasion import Occasion
from airlock.incident.orders import Reopen
from airlock.incident.severity import DAY
from airlock.model.incident import Decided, Finding, Incident, Status
from airlock.model.lease import Lease, Selector
from airlock.store import incidents, leases
from airlock.store.changes import LEASES, Change
from airlock.store.database import Store

OVER: tuple[Status, ...] = ("RESOLVED", "IN_REVIEW")
"""Statuses in which trouble opens an incident again."""

BEGUN: tuple[Status, ...] = ("MONITORING", *OVER)
"""Statuses in which it may be watched."""

WATCH = DAY
"""How long enhanced monitoring has to last before an incident is resolved."""

FAILURES, WITHIN = 6, 60.0
"""Calls that failed within so many seconds: one every ten seconds for a minute."""

DOWN = 3
"""Looks one after the other at which the gateway did not answer, or was not ready."""

REFS = 20
"""Rows that a reason names."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found. `failed`: ids of rows of calls that failed in the last minute."""

    failed: tuple[str, ...] = ()
    down: int = 0
    """Looks in a row at which the gateway was down."""
    reasons: tuple[str, ...] = ()
    """Why it was."""


def begin(change: Change, id: str, *, seconds: float, actor: str, now: float) -> Lease:
    """Watch an incident for so long: the lease of it that lasts, or a new one. Raises `Unfit`
    `duration_too_long`, `duration_invalid`."""
    own = Change(change.connection, LEASES)
    for lease in leases.in_force(own, action="monitoring.enhance", now=now):
        if lease.incident == id and lease.expires_at is not None and lease.expires_at >= now + seconds:
            return lease
    return leases.activate(
        own,
        action="monitoring.enhance",
        selector=Selector(enhanced="true"),
        ttl=seconds,
        reason=f"watched after {id}",
        actor=actor,
        origin="api",
        now=now,
        incident=id,
    ).lease


def may_begin(incident: Incident) -> None:
    """Raises `GuardFailed` where there is nothing to watch yet, or any more."""
    if incident.status not in BEGUN:
        text = f"The incident is {incident.status}; watch needs {' or '.join(BEGUN)}."
        raise GuardFailed("watch", (Missing("status", text),))


def watched(store: Store, *, now: float) -> list[Incident]:
    """The incidents that are over and watched, the newest first."""
    over = [each for each in incidents.listing(store) if each.status in OVER]
    if not over:
        return []
    held = {lease.incident for lease in leases.listing(store, now=now, action="monitoring.enhance")}
    return [each for each in over if each.id in held]


def trouble(sight: Sight) -> str:
    """Why an incident is not over, for its timeline; empty: nothing says so."""
    if len(sight.failed) >= FAILURES:
        rows = ", ".join(sight.failed[:REFS])
        return f"{len(sight.failed)} calls failed within {WITHIN:g} s while it was watched: {rows}"
    if sight.down >= DOWN:
        why = "; ".join(sight.reasons) or "it does not answer"
        return f"the gateway was down at {sight.down} looks in a row while it was watched: {why}"
    return ""


def reopened(incident: Incident, reason: str, occasion: Occasion) -> Decided:
    """The record opened again; as it is where somebody was quicker."""
    if incident.status not in OVER:
        return Decided(incident=incident)
    return lifecycle.reopen(incident, Reopen(reason=reason), occasion)


def goes_on(finding: Finding, over: Sequence[Incident]) -> list[Incident]:
    """The incidents that a finding may be about again: something of it happened after they were resolved."""
    return [each for each in over if each.resolved_at is not None and _after(finding, each.resolved_at)]


def _after(finding: Finding, at: float) -> bool:
    if finding.since > at:
        return True
    return any(ids.moment(id) > at for id in finding.event_ids)
