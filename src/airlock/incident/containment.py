"""Containment as an incident sees it: its state, its terms, and what of it stands on the timeline.

Nothing of this is stored in a record: leases are, and what they say depends on the time of asking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from airlock.core.clock import rfc3339
from airlock.incident.clocks import Term
from airlock.model.incident import SYSTEM_ACTOR, Actor, IncidentEvent, Kind
from airlock.model.lease import RULES, Action, Lease
from airlock.store.incident_facts import ENFORCED, Numbered, once

State = Literal["NONE", "CONTAINING", "CONTAINED", "RELEASING", "RELEASED"]

WATCHING: frozenset[Action] = frozenset(
    ("logging.enhance", "monitoring.enhance", "cache.tune", "limits.tune")
)
"""Actions that keep nobody from anything."""

EXTEND = 0.95
"""Share of a term after which a lease of an urgent incident is extended by itself."""

_KINDS: Mapping[str, Kind] = {
    "lease_applied": "containment_started",
    "lease_extended": "containment_extended",
    "lease_released": "containment_released",
    "lease_expired": "containment_expired",
}
_WORDS: Mapping[str, str] = {
    "lease_applied": "given",
    "lease_extended": "extended",
    "lease_released": "released",
    "lease_expired": "over",
}


def state(leases: Iterable[Lease], *, now: float, enforced: bool) -> State:
    """What holds now. `enforced`: every live replica is at the newest epoch of these leases."""
    found = [lease for lease in leases if lease.action not in WATCHING]
    if any(lease.holds(now) for lease in found):
        return "CONTAINED" if enforced else "CONTAINING"
    if not found:
        return "NONE"
    return "RELEASED" if enforced else "RELEASING"


def terms(leases: Iterable[Lease], extended: Mapping[str, float], now: float) -> list[Term]:
    """The present terms of the leases in force that have an end."""
    return [
        Term(
            lease=lease.id,
            action=lease.action,
            started_at=max(lease.created_at, extended.get(lease.id, lease.created_at)),
            expires_at=lease.expires_at,
        )
        for lease in leases
        if lease.holds(now) and lease.expires_at is not None
    ]


def extension(lease: Lease, term: Term, now: float) -> float | None:
    """How many seconds from now on a lease lasts after its extension by one term; None: it is not extended.

    That is for leases that tighten, near the end of their term, up to their longest time.
    """
    if RULES[lease.action].alone or lease.max_until is None:
        return None
    length = term.expires_at - term.started_at
    if now < term.started_at + EXTEND * length:
        return None
    until = min(term.expires_at + length, lease.max_until)
    seconds = math.floor((until - now) * 1000) / 1000  # a sum of floats may not pass the longest time
    return seconds if until >= term.expires_at + 1 else None


def decided(term: Term, decisions: Iterable[tuple[float, Sequence[str]]]) -> bool:
    """Whether somebody decided about a lease in its present term. `decisions`: time, and what it names."""
    return any(at >= term.started_at and term.lease in refs for at, refs in decisions)


def told(numbered: Numbered, now: float) -> IncidentEvent:
    """The event of a timeline that says what happened to a lease."""
    happened = numbered.happened
    lease = happened.lease
    watching = lease.action in WATCHING
    end = "without end" if lease.expires_at is None else f"until {rfc3339(lease.expires_at)}"
    text = f"{lease.action} {_WORDS[happened.event]}"
    if happened.event in ("lease_applied", "lease_extended"):
        text += f", {end}"
    return IncidentEvent(
        kind="note" if watching else _KINDS[happened.event],
        at=now,
        occurred_at=happened.at,
        actor=_actor(happened.actor, lease),
        summary=f"{text}: {happened.reason}" if happened.reason else text,
        details={
            "lease": lease.id,
            "action": lease.action,
            "origin": lease.origin,
            "epoch": happened.epoch,
            "lease_event": happened.event,
        },
        refs=(lease.id,),
        once=once(numbered.n),
        csf="RS",
    )


def succeeded(lease: Lease, now: float) -> IncidentEvent:
    """The event that says that every live replica enforces a lease."""
    return IncidentEvent(
        kind="containment_succeeded",
        at=now,
        occurred_at=now,
        actor=SYSTEM_ACTOR,
        summary=f"{lease.action} is enforced by every worker",
        details={"lease": lease.id, "action": lease.action, "epoch": lease.epoch},
        refs=(lease.id,),
        once=f"{ENFORCED}{lease.id}",
        csf="RS",
    )


def _actor(who: str, lease: Lease) -> Actor:
    if not who or who == SYSTEM_ACTOR.id:
        return SYSTEM_ACTOR
    if lease.origin == "detector" and who == lease.actor:
        return Actor(type="detector", id=who)
    return Actor(type="human", id=who)
