"""How grave an incident is, what that obliges to, and below what it may not be set.

The matrix is the only place where a limit or a cadence stands: clocks and texts are both made of it, so they
cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from airlock.model.incident import SEVERITIES, Incident, IncidentSeverity, IncidentType
from airlock.model.lease import Unfit

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one severity means. Limits in seconds; None: there is none."""

    word: str
    response: float
    update: float
    l2: float | None = None
    l3: float | None = None
    evidence: float | None = None
    review: Literal["mandatory", "repeated", "no"]
    pagerduty: Literal["critical", "error", "warning", "info"]


MATRIX: Mapping[IncidentSeverity, Row] = {
    "P0": Row(
        word="Critical",
        response=15 * MINUTE,
        update=15 * MINUTE,
        l2=30 * MINUTE,
        l3=HOUR,
        evidence=15 * MINUTE,
        review="mandatory",
        pagerduty="critical",
    ),
    "P1": Row(
        word="High",
        response=HOUR,
        update=30 * MINUTE,
        l2=30 * MINUTE,
        l3=4 * HOUR,
        evidence=HOUR,
        review="mandatory",
        pagerduty="error",
    ),
    "P2": Row(
        word="Medium",
        response=4 * HOUR,
        update=2 * HOUR,
        review="repeated",
        pagerduty="warning",
    ),
    "P3": Row(
        word="Low",
        response=DAY,
        update=DAY,
        review="no",
        pagerduty="info",
    ),
}

REVIEW_FROM, REVIEW_UNTIL = 24 * HOUR, 72 * HOUR
"""When a review takes place, counted from the resolution."""

FLAGS: Mapping[str, str] = {
    "data_loss_suspected": "data may be lost",
    "breach_confirmed": "a breach is confirmed",
    "sensitive_data_exposed": "sensitive data was exposed",
    "regulatory": "a duty to notify may apply",
    "customer_impact": "customers are affected",
    "compliance_violation": "a rule of compliance was violated",
    "media": "media or public relations are involved",
    "architecture_change": "the architecture has to change",
    "third_party_failure": "the part of a vendor fails",
    "cross_tenant_success": "one tenant reached data of another",
    "chain_mismatch": "the audit log does not match its chain or checkpoint",
    "audit_not_recording": "the audit log does not record",
    "fail_open_active": "calls pass without a decision of policy",
}

_FLAG_FLOORS: Mapping[str, IncidentSeverity] = {
    "breach_confirmed": "P0",
    "cross_tenant_success": "P0",
    "chain_mismatch": "P0",
    "audit_not_recording": "P1",
    "fail_open_active": "P1",
}
_RULE_FLOORS: Mapping[str, tuple[IncidentSeverity, str]] = {
    "MCP-022": ("P1", FLAGS["audit_not_recording"]),
    "MCP-023": ("P0", FLAGS["chain_mismatch"]),
}
_SUBTYPE_FLOORS: Mapping[str, tuple[IncidentSeverity, str]] = {
    "data_breach": ("P0", "a breach is suspected"),
    "audit_events_not_recording": ("P1", FLAGS["audit_not_recording"]),
}
_USUAL: Mapping[IncidentType, IncidentSeverity] = {
    "service_outage": "P0",
    "security_incident": "P1",
    "authentication_issue": "P1",
    "policy_failure": "P1",
    "data_issue": "P1",
    "performance_degradation": "P2",
}


class Because(msgspec.Struct, frozen=True):
    """A severity and why."""

    severity: IncidentSeverity
    why: str


def graver(one: IncidentSeverity, other: IncidentSeverity) -> bool:
    """Whether the first is graver than the second."""
    return SEVERITIES.index(one) < SEVERITIES.index(other)


def urgent(severity: IncidentSeverity) -> bool:
    """Whether it may not wait: somebody else is called in by time alone."""
    return MATRIX[severity].l2 is not None


def floors(
    *, suspected_breach: bool | None, flags: Iterable[str], subtype: str, rules: Iterable[str]
) -> tuple[Because, ...]:
    """The severities that an incident may not go below, each with its reason."""
    found: list[Because] = []
    if suspected_breach:
        found.append(Because("P0", "a breach is suspected"))
    found += [Because(_FLAG_FLOORS[flag], FLAGS[flag]) for flag in flags if flag in _FLAG_FLOORS]
    found += [Because(*_RULE_FLOORS[rule]) for rule in rules if rule in _RULE_FLOORS]
    if subtype in _SUBTYPE_FLOORS:
        found.append(Because(*_SUBTYPE_FLOORS[subtype]))
    return tuple(found)


def floor(incident: Incident) -> Because | None:
    """The gravest floor of a record; None: there is none."""
    found = floors(
        suspected_breach=incident.is_suspected_breach,
        flags=incident.flags,
        subtype=incident.subtype,
        rules=incident.rules,
    )
    return highest(found)


def highest(found: Iterable[Because]) -> Because | None:
    """The gravest, of several equal ones the first."""
    return min(found, key=lambda each: SEVERITIES.index(each.severity), default=None)


def propose(*, type: IncidentType, alerted: IncidentSeverity | None, found: Iterable[Because]) -> Because:
    """The severity of an incident for which nobody chose one: that of its alerts, else the usual one of its
    type, and never below a floor. A security incident begins no lower than usual: an alert says what was
    tried, not what was reached. `found`: what `floors` says."""
    usual = Because(_USUAL[type], f"usual for {type}")
    seen = usual if alerted is None else Because(alerted, "that of its gravest alert")
    if type == "security_incident" and graver(usual.severity, seen.severity):
        seen = usual
    return highest((seen, *found)) or seen


def review_mandatory(incident: Incident) -> bool:
    """Whether there has to be a review."""
    row = MATRIX[incident.severity]
    if row.review == "mandatory" or incident.type == "security_incident":
        return True
    return row.review == "repeated" and incident.repeated


def cadence(severity: IncidentSeverity) -> str:
    """How often updates are sent, for people: `every 15 minutes`."""
    return f"every {spoken(MATRIX[severity].update)}"


def spoken(seconds: float) -> str:
    """Whole hours or minutes in words: `15 minutes`, `1 hour`."""
    count, unit = (seconds / HOUR, "hour") if seconds % HOUR == 0 else (seconds / MINUTE, "minute")
    return f"{count:g} {unit}" + ("" if count == 1 else "s")


def read_flags(words: Iterable[str]) -> tuple[str, ...]:
    """Flags as somebody named them. Raises `Unfit` `flag_unknown`."""
    given = tuple(words)
    for word in given:
        if word not in FLAGS:
            raise Unfit("flag_unknown", f"There is no flag {word[:64]!r}: one of {', '.join(FLAGS)}.")
    return given
