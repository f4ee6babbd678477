"""The beginning of a record: its id, its severity, and the questions of the triage."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from airlock.incident import severity, triage
from airlock.incident.occasion import Occasion
from airlock.incident.orders import Open
from airlock.incident.settling import clocks_started, settle
from airlock.incident.texts import check
from airlock.model.incident import Decided, Incident, IncidentEvent, Role
from airlock.model.lease import Unfit

_ID = re.compile(r"INC-(\d{8}-\d{6})(-[1-9]\d{0,2})?", re.ASCII)


def incident_id(now: float, nth: int = 1) -> str:
    """`INC-YYYYMMDD-HHMMSS` of a time in UTC; the second of one second ends in `-2`."""
    made = datetime.fromtimestamp(now, UTC).strftime("INC-%Y%m%d-%H%M%S")
    return made if nth == 1 else f"{made}-{nth}"


def read_id(text: str) -> str:
    """An id that a person chose. Raises `Unfit` `incident_id_invalid`."""
    found = _ID.fullmatch(text)
    if found is not None:
        try:
            datetime.strptime(found[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
            return text
        except ValueError:
            pass
    raise Unfit("incident_id_invalid", f"{text[:64]!r} is no id: write INC-YYYYMMDD-HHMMSS, a time in UTC.")


def open_incident(order: Open, occasion: Occasion, *, nth: int = 1) -> Decided:
    """The record of a new incident in TRIAGE, and its first events.

    `nth`: for an id that is made of the time, the how many-th of its second. Raises `Unfit`:
    `incident_id_invalid`, `flag_unknown`, `text_invalid`, `time_invalid`.
    """
    check(order)
    now = occasion.now
    detected = now if order.detected_at is None else order.detected_at
    for name, at in (("detected_at", detected), ("estimated_start", order.estimated_start)):
        if at is not None and not 0 <= at <= now:
            raise Unfit("time_invalid", f"{name} lies ahead of the present, or is no time.")
    flags = severity.read_flags(order.flags)
    found = severity.floors(
        suspected_breach=order.is_suspected_breach, flags=flags, subtype=order.subtype, rules=order.rules
    )
    chosen = severity.propose(type=order.type, alerted=order.alerted, found=found)
    if order.severity is not None:
        typed = severity.Because(order.severity, "chosen")
        chosen = severity.highest((typed, *found)) or typed
    commander = Role(role="incident_commander", person=order.commander, assumed_at=now)
    incident = Incident(
        id=read_id(order.id) if order.id else incident_id(now, nth),
        title=order.title or order.type.replace("_", " "),
        type=order.type,
        subtype=order.subtype,
        severity=chosen.severity,
        status="TRIAGE",
        is_suspected_breach=order.is_suspected_breach,
        flags=flags,
        tenants=order.tenants,
        affected_users=order.affected_users,
        affected_services=order.affected_services,
        business_impact=order.business_impact,
        security_implications=order.security_implications,
        symptoms=order.symptoms,
        detection_source=order.detection_source,
        rules=order.rules,
        ticket_url=order.ticket_url,
        war_room=order.war_room,
        bridge=order.bridge,
        status_page_url=order.status_page_url,
        policy_revision=order.policy_revision,
        roles=(commander,) if order.commander else (),
        tasks=triage.tasks(),
        opened_at=now,
        detected_at=detected,
        engaged_at=now if order.commander else None,
        estimated_start=order.estimated_start,
        clocks_from=now,
    )
    return settle(incident, incident, _events(incident, order, occasion, chosen), now)


def _events(
    incident: Incident, order: Open, occasion: Occasion, chosen: severity.Because
) -> tuple[IncidentEvent, ...]:
    now = occasion.now
    events = [
        IncidentEvent(
            kind="detected",
            at=now,
            occurred_at=incident.detected_at,
            actor=occasion.actor,
            summary=f"Detected: {incident.title}",
            details={
                "source": incident.detection_source,
                "type": incident.type,
                "severity": chosen.severity,
                "why": chosen.why,
                "rules": list(incident.rules),
            },
            refs=order.refs,
            basis="observed" if occasion.actor.type == "detector" else "reported",
            csf="DE",
        ),
        clocks_started(incident, now, f"severity {chosen.severity}, {chosen.why}"),
    ]
    if order.commander:
        events.append(
            IncidentEvent(
                kind="role_assumed",
                at=now,
                occurred_at=now,
                actor=occasion.actor,
                summary=f"{order.commander} is incident commander",
                details={"role": "incident_commander", "person": order.commander},
                csf="RS",
            )
        )
    return tuple(events)
