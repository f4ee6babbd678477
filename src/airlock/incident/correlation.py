"""Which incident an alert belongs to, and what becomes of the record when it joins. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from airlock.incident import lifecycle, severity
from airlock.incident.occasion import Occasion
from airlock.incident.orders import Open, SetSeverity
from airlock.incident.settling import settle
from airlock.incident.texts import MOST
from airlock.model.incident import Alert, Decided, Finding, Incident, IncidentEvent, IncidentType, Subtype

PARTIES = ("subject", "source_ip", "session", "token", "lease", "component")
"""Names of a group by which two alerts are about the same thing. A server is not: many parties use one."""

WATCHED = "MONITORING"
"""The status in which the harm is over: a rule that finds somebody else then is about something else."""

MOST_OPEN = 5
"""Open incidents of one type that detection begins. A storm of alerts joins the newest of them."""

MOST_REFS = 20
"""Rows that an event on a timeline names."""

UNRESOLVED = lifecycle.UNRESOLVED

_TYPES: Mapping[str, tuple[IncidentType, Subtype]] = {
    "MCP-022": ("data_issue", "audit_events_not_recording"),
    "MCP-024": ("policy_failure", "policy_evaluation_failure"),
    "MCP-025": ("performance_degradation", "high_api_latency"),
    "MCP-026": ("authentication_issue", ""),
}

_FLAGS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("MCP-013", "P0"): ("cross_tenant_success",),
    ("MCP-023", "P0"): ("chain_mismatch",),
}
"""What is true of an incident that such a finding begins."""


def type_of(finding: Finding) -> tuple[IncidentType, Subtype]:
    """What kind of incident a finding is."""
    if finding.rule in _TYPES:
        return _TYPES[finding.rule]
    if finding.source == "monitoring_alert":
        return ("service_outage" if finding.severity == "P0" else "performance_degradation", "")
    return ("security_incident", "")


def choose(finding: Finding, open: Sequence[tuple[Incident, Sequence[Alert]]]) -> str:
    """The open incident that a finding belongs to, of incidents with their alerts, the newest first; empty:
    none."""
    if found := again(finding, open):
        return found
    alike = [
        incident
        for incident, _ in open
        if incident.type == type_of(finding)[0] and incident.rules and incident.status != WATCHED
    ]
    return alike[0].id if len(alike) >= MOST_OPEN else ""


def again(finding: Finding, known: Sequence[tuple[Incident, Sequence[Alert]]]) -> str:
    """The first of these incidents that a finding is about; empty: none. It has the rule of the finding, or
    its party; where the harm is over, the party counts alone."""
    for incident, alerts in known:
        if _same_tenant(finding, incident) and _related(finding, incident, alerts):
            return incident.id
    return ""


def _same_tenant(finding: Finding, incident: Incident) -> bool:
    return not finding.tenant or not incident.tenants or finding.tenant in incident.tenants


def _related(finding: Finding, incident: Incident, alerts: Sequence[Alert]) -> bool:
    if incident.status != WATCHED and finding.rule in incident.rules:
        return True
    mine = {(name, finding.group[name]) for name in PARTIES if name in finding.group}
    theirs = {(name, alert.finding.group.get(name)) for alert in alerts for name in PARTIES}
    return not mine.isdisjoint(theirs) or (not mine and _found_again(finding, alerts))


def _found_again(finding: Finding, alerts: Sequence[Alert]) -> bool:
    """Whether a finding that names no party is of a rule and group that was found before."""
    known = [(each.finding.rule, each.finding.group) for each in alerts]
    return (finding.rule, finding.group) in known


def order(alert: Alert, title: str, now: float) -> Open:
    """What begins an incident with an alert. Its rows may be a moment ahead of this clock."""
    finding = alert.finding
    kind, subtype = type_of(finding)
    return Open(
        title=title,
        type=kind,
        subtype=subtype,
        detection_source=finding.source,
        rules=(finding.rule,),
        alerted=finding.severity,
        symptoms=(finding.summary,),
        flags=_FLAGS.get((finding.rule, finding.severity), ()),
        tenants=(finding.tenant,) if finding.tenant else (),
        affected_services=(finding.group["server"],) if "server" in finding.group else (),
        estimated_start=min(alert.first_seen, now),
        refs=refs(alert),
    )


def joined(incident: Incident, alert: Alert, occasion: Occasion) -> Decided:
    """The record with one more alert: a graver one raises the severity. Raises `GuardFailed`."""
    finding = alert.finding
    after = msgspec.structs.replace(
        incident,
        rules=tuple(dict.fromkeys((*incident.rules, finding.rule)))[:MOST],
        symptoms=tuple(dict.fromkeys((*incident.symptoms, finding.summary)))[:MOST],
        tenants=_tenants(incident, finding),
    )
    event = IncidentEvent(
        kind="detected",
        at=occasion.now,
        occurred_at=min(finding.until, occasion.now),
        actor=occasion.actor,
        summary=finding.summary,
        details={"rule": finding.rule, "severity": finding.severity, "group": finding.group},
        refs=refs(alert),
        csf="DE",
        once=f"alert:{alert.id}",
    )
    decided = settle(incident, after, (event,), occasion.now)
    if not severity.graver(finding.severity, decided.incident.severity):
        return decided
    wanted = SetSeverity(
        severity=finding.severity, reason=f"an alert of {finding.rule} is {finding.severity}"
    )
    raised = lifecycle.set_severity(decided.incident, wanted, occasion)
    return Decided(incident=raised.incident, events=(*decided.events, *raised.events))


def refs(alert: Alert) -> tuple[str, ...]:
    """What an event names of an alert: itself, and its newest rows."""
    return (alert.id, *alert.event_ids[-MOST_REFS:])


def _tenants(incident: Incident, finding: Finding) -> tuple[str, ...]:
    """An incident that is about every tenant stays so."""
    if not finding.tenant or not incident.tenants:
        return incident.tenants
    return tuple(dict.fromkeys((*incident.tenants, finding.tenant)))[:MOST]
