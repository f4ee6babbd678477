"""The states of an incident, and the steps between them.

Each step is one function of a record, an order and the occasion. It gives the new record with the events that
say so, or raises `GuardFailed` with everything that is missing; nothing else changes a status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident import guards, severity, triage
from airlock.incident.escalation import LEVELS
from airlock.incident.guard import GuardFailed, Missing
from airlock.incident.occasion import Occasion
from airlock.incident.orders import (
    Acknowledge,
    Cancel,
    Close,
    Declare,
    Identify,
    Merge,
    Mitigate,
    Reopen,
    Resolve,
    SetSeverity,
    StartReview,
)
from airlock.incident.roles import assumed
from airlock.incident.settling import clocks_started, set_to, settle
from airlock.incident.texts import check, needed
from airlock.model.incident import Decided, Incident, IncidentEvent, Kind, Status
from airlock.model.lease import Unfit

Step = Literal[
    "declare", "identify", "mitigate", "resolve", "reopen", "start_review", "close", "cancel", "merge"
]
UNRESOLVED: tuple[Status, ...] = ("TRIAGE", "INVESTIGATING", "IDENTIFIED", "MONITORING")
ENDED: tuple[Status, ...] = ("CLOSED", "CANCELLED", "MERGED")

TRANSITIONS: Mapping[Step, tuple[tuple[Status, ...], Status]] = {
    "declare": (("TRIAGE",), "INVESTIGATING"),
    "identify": (("INVESTIGATING",), "IDENTIFIED"),
    "mitigate": (("INVESTIGATING", "IDENTIFIED"), "MONITORING"),
    "resolve": (("MONITORING",), "RESOLVED"),
    "reopen": (("MONITORING", "RESOLVED", "IN_REVIEW"), "INVESTIGATING"),
    "start_review": (("RESOLVED",), "IN_REVIEW"),
    "close": (("IN_REVIEW",), "CLOSED"),
    "cancel": (UNRESOLVED, "CANCELLED"),
    "merge": (UNRESOLVED, "MERGED"),
}
"""From where each step leads to where. There are no others."""

PublicStatus = Literal["INVESTIGATING", "IDENTIFIED", "MONITORING", "RESOLVED"]


def public_status(status: Status) -> PublicStatus:
    """The word that everybody is told."""
    match status:
        case "TRIAGE" | "INVESTIGATING":
            return "INVESTIGATING"
        case "IDENTIFIED" | "MONITORING":
            return status
        case _:
            return "RESOLVED"


def acknowledge(incident: Incident, order: Acknowledge, occasion: Occasion) -> Decided:
    """Somebody has seen it, and answers the pages to that level and those below. Raises `GuardFailed`."""
    _alive("acknowledge", incident)
    now = occasion.now
    below = LEVELS[: LEVELS.index(order.level) + 1]
    answered = {level: now for level in below if level not in incident.answered} | incident.answered
    first = incident.acknowledged_at is None
    after = msgspec.structs.replace(
        incident, acknowledged_at=now if first else incident.acknowledged_at, answered=answered
    )
    event = _event("acknowledged", occasion, f"Acknowledged by {order.level}", level=order.level)
    met = _event("clock_met", occasion, "Clock response was met", clock="response")
    return settle(incident, after, (event, met) if first else (event,), now)


def declare(incident: Incident, order: Declare, occasion: Occasion) -> Decided:
    """It is an incident. A P0 or P1 goes on with open questions, which are due soon. Raises `GuardFailed`."""
    check(order)
    _allowed("declare", incident)
    now, events = occasion.now, list[IncidentEvent]()
    after = incident
    if order.commander:
        given = assumed(after, "incident_commander", order.commander, occasion)
        after, events = given.incident, [*given.events]
    lacking = triage.open_questions(after)
    if lacking and not severity.urgent(after.severity):
        raise GuardFailed("declare", lacking)
    after = triage.made_urgent(after, now)
    after = msgspec.structs.replace(after, declared_at=now)
    summary = f"Declared {after.severity}: {after.title}"
    return _step("declare", incident, after, occasion, summary, first=tuple(events))


def identify(incident: Incident, order: Identify, occasion: Occasion) -> Decided:
    """The cause is probably known. Raises `GuardFailed` without a hypothesis and evidence for it."""
    check(order)
    _allowed("identify", incident)
    hypothesis = order.hypothesis or incident.hypothesis
    evidence = order.evidence or occasion.facts.evidence
    guards.refuse("identify", guards.identify(hypothesis, evidence))
    after = msgspec.structs.replace(incident, hypothesis=hypothesis, identified_at=occasion.now)
    return _step("identify", incident, after, occasion, f"Cause identified: {hypothesis}", refs=evidence)


def mitigate(incident: Incident, order: Mitigate, occasion: Occasion) -> Decided:
    """The harm has ended. Raises `GuardFailed` where nothing was done and it did not end by itself."""
    check(order)
    _allowed("mitigate", incident)
    guards.refuse("mitigate", guards.mitigate(order, occasion.facts))
    at = occasion.now if order.at is None else order.at
    if not 0 <= at <= occasion.now:
        raise Unfit("time_invalid", "The time of the mitigation lies ahead of the present, or is no time.")
    by_itself = "recovered by itself" if order.self_recovered else "contained"
    after = msgspec.structs.replace(incident, mitigated_at=at, mitigation=order.action or by_itself)
    return _step("mitigate", incident, after, occasion, f"Mitigated: {after.mitigation}", occurred_at=at)


def resolve(incident: Incident, order: Resolve, occasion: Occasion) -> Decided:
    """It is over. Raises `GuardFailed` with everything that stands against it."""
    check(order)
    _allowed("resolve", incident)
    guards.refuse("resolve", guards.resolve(incident, occasion.facts))
    review = msgspec.structs.replace(
        incident.review, resolution=order.resolution or incident.review.resolution
    )
    after = msgspec.structs.replace(
        incident,
        resolved_at=occasion.now,
        root_cause=order.root_cause or incident.root_cause,
        repeated=occasion.facts.repeated,
        review=review,
    )
    summary = f"Resolved: {order.resolution}" if order.resolution else "Resolved"
    return _step("resolve", incident, after, occasion, summary)


def reopen(incident: Incident, order: Reopen, occasion: Occasion) -> Decided:
    """It is not over. Every clock of the severity starts again. Raises `GuardFailed`, `Unfit`."""
    check(order)
    _allowed("reopen", incident)
    needed("reason", order.reason)
    now = occasion.now
    seen = now if occasion.actor.type == "human" else None
    after = msgspec.structs.replace(
        incident,
        clocks_from=now,
        deadlines={},
        escalated={},
        answered={},
        acknowledged_at=seen,
        identified_at=None,
        mitigated_at=None,
        resolved_at=None,
        evidence_at=None,
        review_at=None,
        last_update_at=None,
        mitigation="",
        review=msgspec.structs.replace(incident.review, scheduled_for=None),
    )
    started = clocks_started(after, now, "it was reopened")
    return _step("reopen", incident, after, occasion, f"Reopened: {order.reason}", then=(started,))


def start_review(incident: Incident, order: StartReview, occasion: Occasion) -> Decided:
    """People sit together. Raises `GuardFailed` where the date does not lie 24 to 72 h behind the resolution
    and there has to be a review."""
    check(order)
    _allowed("start_review", incident)
    review = incident.review
    when = review.scheduled_for if order.scheduled_for is None else order.scheduled_for
    guards.refuse("start_review", guards.start_review(incident, when))
    after = msgspec.structs.replace(
        incident,
        review_at=occasion.now,
        review=msgspec.structs.replace(review, scheduled_for=when, link=order.link or review.link),
    )
    date = "" if when is None else f" for {rfc3339(when)}"
    return _step(
        "start_review",
        incident,
        after,
        occasion,
        f"Review begun, scheduled{date}" if date else "Review begun",
    )


def close(incident: Incident, order: Close, occasion: Occasion) -> Decided:
    """Nothing is left to say. Raises `GuardFailed` with what is left."""
    check(order)
    _allowed("close", incident)
    guards.refuse("close", guards.close(incident, occasion.facts))
    verdict = incident.verdict or "true_positive"
    after = msgspec.structs.replace(incident, closed_at=occasion.now, verdict=verdict)
    return _step(
        "close", incident, after, occasion, f"Closed: {order.summary}" if order.summary else "Closed"
    )


def cancel(incident: Incident, order: Cancel, occasion: Occasion) -> Decided:
    """It was none. Raises `GuardFailed` without a verdict, or while anything is contained or owed."""
    check(order)
    _allowed("cancel", incident)
    guards.refuse("cancel", guards.cancel(order, occasion.facts))
    after = msgspec.structs.replace(incident, verdict=order.verdict, closed_at=occasion.now)
    why = f": {order.reason}" if order.reason else ""
    return _step("cancel", incident, after, occasion, f"Cancelled as {order.verdict.replace('_', ' ')}{why}")


def merge(incident: Incident, order: Merge, occasion: Occasion) -> Decided:
    """It is part of another one. Raises `GuardFailed` while anything of it is contained, loosened or owed."""
    check(order)
    _allowed("merge", incident)
    guards.refuse("merge", guards.merge(incident, order, occasion.facts))
    after = msgspec.structs.replace(
        incident,
        verdict="duplicate",
        merged_into=order.into,
        closed_at=occasion.now,
    )
    return _step("merge", incident, after, occasion, f"Merged into {order.into}", refs=(order.into,))


def set_severity(incident: Incident, order: SetSeverity, occasion: Occasion) -> Decided:
    """Another severity. Only the commander lowers it, never below a floor. Raises `GuardFailed`, `Unfit`."""
    check(order)
    _alive("set_severity", incident)
    needed("reason", order.reason)
    if order.severity == incident.severity:
        raise Unfit("severity_unchanged", f"The severity is {order.severity} already.")
    guards.refuse("set_severity", guards.set_severity(incident, order.severity, occasion.actor))
    after = set_to(incident, order.severity, occasion.now)
    event = _event(
        "severity_changed",
        occasion,
        f"Severity changed from {incident.severity} to {order.severity}: {order.reason}",
        **{"from": incident.severity, "to": order.severity, "why": order.reason},
    )
    started = clocks_started(after, occasion.now, f"the severity is {order.severity}")
    return settle(incident, after, (event, started), occasion.now)


_KINDS: Mapping[Step, Kind] = {"declare": "declared", "start_review": "review_started", "close": "closed"}


def _step(
    step: Step,
    before: Incident,
    after: Incident,
    occasion: Occasion,
    summary: str,
    *,
    refs: tuple[str, ...] = (),
    occurred_at: float | None = None,
    first: tuple[IncidentEvent, ...] = (),
    then: tuple[IncidentEvent, ...] = (),
) -> Decided:
    """The end of every step: the status that the table has for it, and the event that says so, between the
    events `first` and `then`."""
    after = msgspec.structs.replace(after, status=TRANSITIONS[step][1])
    moved: dict[str, object] = {"step": step, "from": before.status, "to": after.status}
    said = _event(_KINDS.get(step, "status_changed"), occasion, summary, **moved)
    said = msgspec.structs.replace(
        said, refs=refs, occurred_at=occasion.now if occurred_at is None else occurred_at
    )
    return settle(before, after, (*first, said, *then), occasion.now)


def _event(kind: Kind, occasion: Occasion, summary: str, **details: object) -> IncidentEvent:
    return IncidentEvent(
        kind=kind,
        at=occasion.now,
        occurred_at=occasion.now,
        actor=occasion.actor,
        summary=summary,
        details=details,
        csf="RC" if details.get("to") == "RESOLVED" else "RS",
    )


def _allowed(step: Step, incident: Incident) -> None:
    """Raises `GuardFailed` where the table has no such step."""
    sources, _ = TRANSITIONS[step]
    if incident.status not in sources:
        text = f"The incident is {incident.status}; {step} needs {' or '.join(sources)}."
        raise GuardFailed(step, (Missing("status", text),))


def _alive(step: str, incident: Incident) -> None:
    if incident.status in ENDED:
        raise GuardFailed(step, (Missing("status", f"The incident is {incident.status}: nothing changes."),))
