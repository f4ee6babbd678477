"""What templates may say: the facts of a record, each computed here, none in a template.

Lists of sentences are `Safe` texts. A fact that cannot be known is None.
"""

from __future__ import annotations

from collections.abc import Sequence

from airlock.incident import durations, lifecycle, severity
from airlock.incident.clocks import clocks
from airlock.incident.render import figures, lists, timeline
from airlock.incident.render.record import Record
from airlock.incident.render.words import NOT_RECORDED, UNKNOWN, Safe, moment, named, plain
from airlock.model.incident import Incident, Kind, Recorded

_STATUS_TEXT = {
    "INVESTIGATING": "the cause is being looked for",
    "IDENTIFIED": "the cause is known and is being removed",
    "MONITORING": "a fix is in place and is being watched",
    "RESOLVED": "resolved",
}
_STATUS_WORD = {
    "INVESTIGATING": "Investigating",
    "IDENTIFIED": "Identified",
    "MONITORING": "Identified (fix applied, monitoring)",
    "RESOLVED": "Resolved",
}


def facts(record: Record) -> dict[str, object]:
    """Every name that a template may use."""
    incident = record.incident
    status = lifecycle.public_status(incident.status)
    start = began(incident)
    taken = {each.name: each.seconds for each in durations.durations(incident, record.timeline)}
    return {
        "r": record,
        "i": incident,
        "unknown": UNKNOWN,
        "severity": Safe(f"{incident.severity} ({severity.MATRIX[incident.severity].word})"),
        "type": named(incident.type),
        "source": named(incident.detection_source),
        "status": Safe(status),
        "status_text": Safe(_STATUS_TEXT[status]),
        "status_word": Safe(_STATUS_WORD[status]),
        "open": status in ("INVESTIGATING", "IDENTIFIED"),
        "start": start,
        "impact": incident.business_impact or figures.users(record),
        "duration": _between(start, incident.resolved_at),
        "impact_duration": _between(start, incident.mitigated_at),
        "running": _between(start, incident.resolved_at or record.at),
        "durations": taken,
        "commander": incident.person("incident_commander"),
        "war_room": incident.war_room or Safe(f"#incident-response-{plain(incident.id)}"),
        "status_page": incident.status_page_url or record.places.status_page,
        "support": record.places.support,
        "cadence": Safe(severity.cadence(incident.severity)),
        "next_update": next_update(record),
        "next_update_text": _next_update_text(record, status),
        "breach": {True: Safe("yes"), False: Safe("no"), None: None}[incident.is_suspected_breach],
        "tlp": Safe(f"TLP:{incident.tlp}"),
        "milestones": milestones(incident, record.timeline),
        "timeline": timeline.lines(record.timeline),
        **lists.lists(record, status_text=_STATUS_TEXT[status]),
        **figures.figures(record),
    }


def began(incident: Incident) -> float:
    """When it began, as far as that is known: the estimate, else the detection."""
    return incident.estimated_start if incident.estimated_start is not None else incident.detected_at


def next_update(record: Record) -> float | None:
    """When the next update is due; None: none is due any more."""
    return next((each.due_at for each in clocks(record.incident, record.at) if each.kind == "update"), None)


def milestones(incident: Incident, events: Sequence[Recorded]) -> list[dict[str, Safe]]:
    """The five rows that every review has: times of the record, each with the event that says so."""

    def first(*kinds: Kind) -> Recorded | None:
        done = (each for each in events if each.event.details.get("delivered") is not False)
        return next((each for each in done if each.event.kind in kinds), None)

    def last(status: str) -> Recorded | None:
        moved = [each for each in events if each.event.details.get("to") == status]
        return moved[-1] if moved else None

    notified = first("comm_sent", "escalated", "acknowledged")
    rows = (
        ("detected", incident.detected_at, first("detected")),
        ("team notified", notified.event.occurred_at if notified else None, notified),
        ("cause identified", incident.identified_at, last("IDENTIFIED")),
        ("fix deployed", incident.mitigated_at, last("MONITORING")),
        ("restored", incident.resolved_at, last("RESOLVED")),
    )
    return [_milestone(text, at, event) for text, at, event in rows]


def _milestone(text: str, at: float | None, event: Recorded | None) -> dict[str, Safe]:
    cited = f" (event {event.seq})" if event is not None and at is not None else ""
    return {"at": Safe(moment(at) or NOT_RECORDED), "text": Safe(f"{text}{cited}")}


def _between(start: float, end: float | None) -> float | None:
    return None if end is None else max(0.0, end - start)


def _next_update_text(record: Record, status: str) -> Safe:
    if status == "RESOLVED":
        return Safe("none, the incident is resolved")
    return moment(next_update(record)) or Safe(UNKNOWN)
