"""Incidents to decide about: one of each state, people, and the facts that let every step pass."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from airlock.incident import keeping, lifecycle
from airlock.incident.occasion import Facts, Occasion, Verification
from airlock.incident.opening import open_incident
from airlock.incident.orders import (
    Close,
    Declare,
    Edit,
    Identify,
    Mitigate,
    Open,
    Resolve,
    StartReview,
)
from airlock.model.incident import (
    ActionItem,
    Actor,
    Decided,
    Incident,
    IncidentEvent,
    IncidentSeverity,
    Recorded,
    Review,
    Status,
    Why,
)

NOW = 1_795_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

ALICE = Actor(type="human", id="https://idp.example|alice")
BOB = Actor(type="human", id="https://idp.example|bob")
DETECTOR = Actor(type="detector", id="MCP-002")

GREEN = Facts(
    verification=Verification(at=NOW),
    monitoring_until=NOW + 10 * DAY,
    containments=1,
    evidence=("01a2006b-5942-7f40-aab2-0d0608549049",),
    events=5,
    bundle_sealed=True,
    bundle_verified=True,
)
"""Nothing stands against any step."""

REVIEWED = Review(
    whys=Why(
        occurrence="a leaked password",
        prevention="no second factor",
        detection_delay="it was not delayed",
        resolution_time="one hour to rotate",
        monitoring="there was a rule",
    ),
    breach_answered=False,
)


def at(now: float = NOW, actor: Actor = ALICE, facts: Facts = GREEN) -> Occasion:
    return Occasion(actor=actor, now=now, facts=facts)


def opened(severity: IncidentSeverity = "P1", now: float = NOW, **more: object) -> Incident:
    """An incident in TRIAGE with alice in command."""
    order = Open(title="Credential stuffing", severity=severity, commander="alice", type="policy_failure")
    return open_incident(msgspec.structs.replace(order, **more), at(now)).incident


def answered(incident: Incident, now: float = NOW) -> Incident:
    """With every question of the triage answered."""
    facts = Edit(
        affected_users="12 people",
        security_implications="none known",
        business_impact="searches fail",
        ticket_url="https://tickets.example/1",
    )
    return keeping.edit(incident, facts, at(now)).incident


def closable(incident: Incident) -> Incident:
    """With everything that people have to write."""
    item = ActionItem(id="A-1", text="rotate", owner="bob", due="2026-12-01")
    return msgspec.structs.replace(incident, root_cause="a password", review=REVIEWED, actions=(item,))


Walk = Callable[[Incident, float], Decided]
WAY: tuple[tuple[Status, Walk], ...] = (
    ("INVESTIGATING", lambda it, now: lifecycle.declare(answered(it, now), Declare(), at(now))),
    ("IDENTIFIED", lambda it, now: lifecycle.identify(it, Identify(hypothesis="a leak"), at(now))),
    ("MONITORING", lambda it, now: lifecycle.mitigate(it, Mitigate(action="blocked"), at(now))),
    ("RESOLVED", lambda it, now: lifecycle.resolve(it, Resolve(), at(now))),
    (
        "IN_REVIEW",
        lambda it, now: lifecycle.start_review(it, StartReview(scheduled_for=now + 48 * HOUR), at(now)),
    ),
    ("CLOSED", lambda it, now: lifecycle.close(closable(it), Close(), at(now))),
)
"""The way from TRIAGE to the end, one step after the other."""


def brought_to(status: Status, incident: Incident | None = None, now: float = NOW) -> Incident:
    """An incident that went the usual way to this status, all of it at one moment."""
    it = opened(now=now) if incident is None else incident
    for reached, step in WAY:
        if it.status == status:
            break
        it = step(it, now).incident
        assert it.status == reached
    assert it.status == status
    return it


def kinds(decided: Decided) -> list[str]:
    return [event.kind for event in decided.events]


def recorded(*events: IncidentEvent) -> list[Recorded]:
    """Events as a timeline has them."""
    return [
        Recorded(incident="INC-20261122-210700", seq=seq, event=event, digest="0" * 64)
        for seq, event in enumerate(events, start=1)
    ]
