"""The ladder: who is called in, and what calls them.

Triggers are time, impact and complexity, all read from the record; each level is called once in a round of
the clocks. Whoever reads the `escalated` events finds the people and reaches them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident import clocks, severity
from airlock.incident.orders import Level
from airlock.incident.severity import FLAGS, MATRIX, MINUTE, spoken
from airlock.model.incident import SYSTEM_ACTOR, Actor, Decided, Incident, IncidentEvent

UNKNOWN_CAUSE = 30 * MINUTE
"""How long the cause may be unknown."""

NO_COMMANDER = 15 * MINUTE
"""How long a P0 or P1 may be without a commander."""

PATIENCE = 3
"""A page that nobody answered within this part of the response time goes one level up."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One level: who it is, where contacts have them, and who outside is told with them."""

    who: str
    contacts: tuple[str, ...]
    parties: tuple[str, ...] = ()


LADDER: Mapping[Level, Step] = {
    "L1": Step(who="on-call engineer", contacts=("on_call.primary", "on_call.secondary")),
    "L2": Step(
        who="senior engineer, team lead, SRE",
        contacts=("on_call.senior", "on_call.team_lead", "management.platform_lead", "on_call.secondary"),
    ),
    "L3": Step(
        who="engineering manager and security",
        contacts=("management.engineering_manager",),
        parties=("security_team",),
    ),
    "L4": Step(who="director of engineering", contacts=("management.director",)),
    "L5": Step(
        who="CTO, VP engineering",
        contacts=("management.cto", "management.vp_engineering"),
        parties=("executive_team",),
    ),
}
LEVELS: tuple[Level, ...] = tuple(LADDER)

PARTIES: Mapping[str, str] = {
    "security_team": "external.security_team",
    "legal_team": "external.legal_team",
    "executive_team": "external.executive_team",
    "vendor_support": "vendors",
}
"""Who outside of the ladder is told, and where contacts have them."""

_FLAG_LEVELS: Mapping[str, tuple[Level, ...]] = {
    "data_loss_suspected": ("L2",),
    "architecture_change": ("L2",),
    "breach_confirmed": ("L2", "L4"),
    "sensitive_data_exposed": ("L3",),
    "regulatory": ("L3",),
    "customer_impact": ("L3",),
    "compliance_violation": ("L3",),
    "media": ("L5",),
}
_FLAG_PARTIES: Mapping[str, tuple[str, ...]] = {
    "breach_confirmed": ("security_team", "legal_team"),
    "sensitive_data_exposed": ("security_team",),
    "cross_tenant_success": ("security_team",),
    "chain_mismatch": ("security_team",),
    "regulatory": ("legal_team",),
    "compliance_violation": ("legal_team",),
    "media": ("executive_team",),
    "third_party_failure": ("vendor_support",),
}
_UNRESOLVED = ("TRIAGE", "INVESTIGATING", "IDENTIFIED", "MONITORING")


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a level is called, and from when on."""

    level: Level
    at: float
    trigger: str


def news(incident: Incident, now: float) -> Decided:
    """The calls that are due and were not made, and the record that has them made."""
    if incident.status not in _UNRESOLVED:
        return Decided(incident=incident)
    escalated, events = dict(incident.escalated), list[IncidentEvent]()
    for level in LEVELS:
        due = sorted(
            (reason for reason in reasons(incident) if reason.level == level and reason.at <= now),
            key=lambda reason: reason.at,
        )
        if due and level not in escalated:
            escalated[level] = now
            events.append(_called(incident, level, due, now))
    for party, why in _parties(incident):
        if party not in escalated:
            escalated[party] = now
            events.append(_told(incident, party, why, now))
    if not events:
        return Decided(incident=incident)
    return Decided(incident=msgspec.structs.replace(incident, escalated=escalated), events=tuple(events))


def reasons(incident: Incident) -> list[Reason]:
    """Everything that calls a level, by the record as it is, also what lies ahead."""
    return [*_by_time(incident), *_unanswered(incident), *_by_impact(incident), *_by_complexity(incident)]


def climbed(incident: Incident, level: Level, why: str, actor: Actor, now: float) -> Decided:
    """Somebody calls a level by hand, also a second time."""
    step = LADDER[level]
    event = IncidentEvent(
        kind="escalated",
        at=now,
        occurred_at=now,
        actor=actor,
        summary=f"Escalated to {level} ({step.who}): {why}",
        details=_details(level, [why]),
        csf="RS",
    )
    escalated = incident.escalated | {level: now}
    answered = {each: at for each, at in incident.answered.items() if each != level}
    changed = msgspec.structs.replace(incident, escalated=escalated, answered=answered)
    return Decided(incident=changed, events=(event,))


def _by_time(incident: Incident) -> Iterator[Reason]:
    urgent = severity.urgent(incident.severity)
    if urgent or incident.declared_at is not None:
        yield Reason(level="L1", at=incident.clocks_from, trigger="an incident needs somebody")
    for level in ("L2", "L3"):
        at = clocks.due(incident, level)
        if at is not None:
            limit = clocks.limit_of(incident.severity, level)
            since = "" if limit is None else f" after {spoken(limit)}"
            yield Reason(level=level, at=at, trigger=f"unresolved{since}")
    if urgent and not incident.person("incident_commander"):
        at = incident.clocks_from + NO_COMMANDER
        yield Reason(level="L2", at=at, trigger=f"no commander after {spoken(NO_COMMANDER)}")


def _unanswered(incident: Incident) -> Iterator[Reason]:
    patience = MATRIX[incident.severity].response / PATIENCE
    for level, above in pairwise(LEVELS):
        paged = incident.escalated.get(level)
        if paged is not None and level not in incident.answered:
            trigger = f"the page to {level} was not answered within {patience / MINUTE:g} minutes"
            yield Reason(level=above, at=paged + patience, trigger=trigger)


def _by_impact(incident: Incident) -> Iterator[Reason]:
    for flag in incident.flags:
        for level in _FLAG_LEVELS.get(flag, ()):
            if level != "L4" or incident.severity == "P0":
                yield Reason(level=level, at=incident.clocks_from, trigger=FLAGS[flag])


def _by_complexity(incident: Incident) -> Iterator[Reason]:
    if len(incident.affected_services) > 1:
        trigger = f"{len(incident.affected_services)} services are affected"
        yield Reason(level="L2", at=incident.clocks_from, trigger=trigger)
    unknown = incident.identified_at is None and not incident.root_cause
    if unknown and incident.severity != "P3":
        at = incident.clocks_from + UNKNOWN_CAUSE
        yield Reason(level="L2", at=at, trigger=f"the cause is unknown after {spoken(UNKNOWN_CAUSE)}")


def _parties(incident: Incident) -> Iterator[tuple[str, str]]:
    """Who outside is told, and why."""
    for flag in incident.flags:
        for party in _FLAG_PARTIES.get(flag, ()):
            yield party, FLAGS[flag]
    if incident.is_suspected_breach:
        yield "security_team", "a breach is suspected"
        yield "legal_team", "a breach is suspected"
    if incident.type == "security_incident" and incident.declared_at is not None:
        yield "security_team", "a security incident was declared"


def _called(incident: Incident, level: Level, due: list[Reason], now: float) -> IncidentEvent:
    step, first = LADDER[level], due[0]
    return IncidentEvent(
        kind="escalated",
        at=now,
        occurred_at=first.at,
        actor=SYSTEM_ACTOR,
        summary=f"Escalated to {level} ({step.who}): {first.trigger}",
        details=_details(level, [reason.trigger for reason in due]) | {"due_at": rfc3339(first.at)},
        once=f"escalated:{level}:{incident.clocks_from:.0f}",
        csf="RS",
    )


def _told(incident: Incident, party: str, why: str, now: float) -> IncidentEvent:
    return IncidentEvent(
        kind="escalated",
        at=now,
        occurred_at=now,
        actor=SYSTEM_ACTOR,
        summary=f"Escalated to the {party.replace('_', ' ')}: {why}",
        details={"level": "external", "parties": [party], "contacts": [PARTIES[party]], "triggers": [why]},
        once=f"escalated:{party}:{incident.clocks_from:.0f}",
        csf="RS",
    )


def _details(level: Level, triggers: Iterable[str]) -> dict[str, object]:
    step = LADDER[level]
    return {
        "level": level,
        "who": step.who,
        "contacts": list(step.contacts),
        "parties": list(step.parties),
        "triggers": list(triggers),
    }
