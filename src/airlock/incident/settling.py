"""What follows from every change of a record: late clocks are noted before they stop, questions that were
answered are ticked off, the severity rises to its floor, and the ladder is climbed at once.
"""

from __future__ import annotations

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident import clocks, escalation, severity, triage
from airlock.model.incident import SYSTEM_ACTOR, Decided, Incident, IncidentEvent, IncidentSeverity


def settle(before: Incident, after: Incident, events: tuple[IncidentEvent, ...], now: float) -> Decided:
    """The decision that makes `after` of `before`, with what follows from it.

    1 what is late by now is noted, since the change may stop its clock
    2 answered questions of the triage are done
    3 the severity is not below its floor
    4 whoever has to be called in is called
    """
    late = clocks.news(before, now, clocks.clocks(before, now))  # 1
    same_round = after.clocks_from == before.clocks_from
    after = msgspec.structs.replace(after, noticed=late.incident.noticed if same_round else ())
    after = triage.ticked(after, now)  # 2
    raised = _raised(after, now)  # 3
    called = escalation.news(raised.incident, now)  # 4
    return Decided(incident=called.incident, events=(*late.events, *events, *raised.events, *called.events))


def set_to(incident: Incident, new: IncidentSeverity, now: float) -> Incident:
    """The record at another severity: a rise keeps every deadline that is earlier, a fall counts anew."""
    rises = severity.graver(new, incident.severity)
    deadlines = clocks.upgraded(incident, new, now) if rises else {}
    return msgspec.structs.replace(incident, severity=new, deadlines=deadlines)


def due_times(incident: Incident) -> dict[str, str]:
    """When each clock of the severity is due, for an event."""
    found = ((rule.name, clocks.due(incident, rule.name)) for rule in clocks.RULES)
    return {name: rfc3339(at) for name, at in found if at is not None}


def clocks_started(incident: Incident, now: float, why: str) -> IncidentEvent:
    """The event that says which clocks run from here on."""
    return IncidentEvent(
        kind="clock_started",
        at=now,
        occurred_at=now,
        actor=SYSTEM_ACTOR,
        summary=f"Clocks of {incident.severity} run: {why}",
        details={"severity": incident.severity, "due": due_times(incident)},
        csf="RS",
    )


def _raised(incident: Incident, now: float) -> Decided:
    floor = severity.floor(incident)
    ended = incident.status in ("CLOSED", "CANCELLED", "MERGED")
    if floor is None or ended or not severity.graver(floor.severity, incident.severity):
        return Decided(incident=incident)
    raised = set_to(incident, floor.severity, now)
    event = IncidentEvent(
        kind="severity_changed",
        at=now,
        occurred_at=now,
        actor=SYSTEM_ACTOR,
        summary=f"Severity raised from {incident.severity} to {floor.severity}: {floor.why}",
        details={"from": incident.severity, "to": floor.severity, "why": floor.why, "automatic": True},
        csf="RS",
    )
    started = clocks_started(raised, now, f"the severity rose to {raised.severity}")
    return Decided(incident=raised, events=(event, started))
