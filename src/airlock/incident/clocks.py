"""Clocks: when something has to have happened, computed from the record on each read.

Nothing runs: a clock is a start, a limit and a stop, and what it says depends on the time of asking only. So
a dead scheduler hides no breach. Whoever notices a warning or a breach first writes it down, once, with the
time at which it was due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident.severity import MATRIX, REVIEW_UNTIL, review_mandatory
from airlock.model.incident import SYSTEM_ACTOR, Decided, Incident, IncidentEvent, IncidentSeverity

WARN = 0.8
"""Share of the limit after which people are warned."""

ClockKind = Literal["response", "update", "escalation", "review", "regulatory", "lease", "evidence"]
ClockState = Literal["running", "warned", "breached", "met", "met_late", "stopped", "paused", "no_limit"]


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """One clock at the time of asking. Times are Unix seconds."""

    kind: ClockKind
    name: str
    """`response`, `L2`, `gdpr:notification`, `lease:<id>`: unique in an incident."""
    started_by: str
    started_at: float
    due_at: float | None
    """None: there is no limit."""
    warn_at: float | None
    met_at: float | None = None
    met_by: str = ""
    breached_at: float | None = None
    """The due time, where it passed unmet."""
    state: ClockState
    paused_reason: str = ""
    note: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A clock as data: from the latest of `starts` for `limit` of the matrix, until one of `stops`."""

    name: str
    kind: ClockKind
    starts: tuple[str, ...] = ("clocks_from",)
    limit: str
    stops: Mapping[str, str]
    """What stops it, and the field of the record with the time of that."""
    escalates: str = ""
    """The level that is paged at the due time: that meets it, and nothing is breached."""


RULES: tuple[Rule, ...] = (
    Rule(
        name="response",
        kind="response",
        limit="response",
        stops={"acknowledged": "acknowledged_at", "resolved": "resolved_at"},
    ),
    Rule(
        name="update",
        kind="update",
        starts=("clocks_from", "last_update_at"),
        limit="update",
        stops={"resolved": "resolved_at"},
    ),
    Rule(name="L2", kind="escalation", limit="l2", stops={"resolved": "resolved_at"}, escalates="L2"),
    Rule(name="L3", kind="escalation", limit="l3", stops={"resolved": "resolved_at"}, escalates="L3"),
    Rule(name="evidence", kind="evidence", limit="evidence", stops={"evidence_collected": "evidence_at"}),
)


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """The present term of a lease: from when it was given or last extended to its end."""

    lease: str
    action: str
    started_at: float
    expires_at: float


def clocks(incident: Incident, now: float) -> list[Clock]:
    """The clocks of the severity and the review, as they stand at this time."""
    found = [clock for rule in RULES if (clock := _ruled(incident, rule, now)) is not None]
    return [*found, *_review(incident, now)]


def lease_clocks(terms: Iterable[Term], now: float) -> list[Clock]:
    """One clock for each lease that has an end: its holders are warned, and its end breaches nothing."""
    return [
        made(
            kind="lease",
            name=f"lease:{term.lease}",
            started_by=term.action,
            started_at=term.started_at,
            due_at=term.expires_at,
            now=now,
            breaches=False,
        )
        for term in terms
    ]


def made(
    *,
    kind: ClockKind,
    name: str,
    started_by: str,
    started_at: float,
    due_at: float | None,
    now: float,
    met_at: float | None = None,
    met_by: str = "",
    ended_at: float | None = None,
    breaches: bool = True,
    note: str = "",
) -> Clock:
    """A clock in its state at `now`. `ended_at`: when nothing was left for which it could run."""
    warn_at = None if due_at is None else started_at + WARN * max(0.0, due_at - started_at)
    until = min(now if each is None else each for each in (met_at, ended_at))
    late = due_at is not None and until >= due_at and breaches
    state: ClockState
    if met_at is not None:
        state = "met_late" if late else "met"
    elif late:
        state = "breached"
    elif ended_at is not None:
        state = "stopped"
    elif due_at is None:
        state = "no_limit"
    else:
        state = "warned" if warn_at is not None and now >= warn_at else "running"
    return Clock(
        kind=kind,
        name=name,
        started_by=started_by,
        started_at=started_at,
        due_at=due_at,
        warn_at=warn_at,
        met_at=met_at,
        met_by=met_by,
        breached_at=due_at if late else None,
        state=state,
        note=note,
    )


def due(incident: Incident, name: str) -> float | None:
    """When a clock of the severity is due by the record; None: it has no limit."""
    rule = next(rule for rule in RULES if rule.name == name)
    limit = limit_of(incident.severity, name)
    pinned = incident.deadlines.get(name)
    if pinned is not None:
        return pinned
    return None if limit is None else _start(incident, rule) + limit


def next_update(incident: Incident) -> float | None:
    """When the next update has to be sent; None: none has to be any more."""
    return due(incident, "update") if _ended(incident) is None else None


def limit_of(severity: IncidentSeverity, name: str) -> float | None:
    """The limit of a clock at a severity, in seconds."""
    rule = next(rule for rule in RULES if rule.name == name)
    return getattr(MATRIX[severity], rule.limit)


def upgraded(incident: Incident, severity: IncidentSeverity, now: float) -> dict[str, float]:
    """The due times after a rise to this severity: the old one or the new limit from now, what is earlier."""
    fixed: dict[str, float] = {}
    for rule in RULES:
        old, limit = due(incident, rule.name), limit_of(severity, rule.name)
        both = [each for each in (old, None if limit is None else now + limit) if each is not None]
        if both:
            fixed[rule.name] = min(both)
    return fixed


def news(incident: Incident, now: float, found: Sequence[Clock]) -> Decided:
    """What the clocks `found` say that nobody noticed yet, and the record that has it noticed."""
    events: list[IncidentEvent] = []
    keys: set[str] = set()
    for clock in found:
        if clock.due_at is None or clock.state == "paused":
            continue
        breach, warning = (f"{clock.name}:{what}:{clock.due_at:.0f}" for what in ("breached", "warned"))
        keys |= {breach, warning}
        if clock.breached_at is not None and breach not in incident.noticed:
            events.append(_breached(clock, now, breach))
        elif clock.state == "warned" and warning not in incident.noticed:
            events.append(_warned(clock, now, warning))
    if not events:
        return Decided(incident=incident)
    events.sort(key=lambda event: event.occurred_at)
    noticed = (*(key for key in incident.noticed if key in keys), *(event.once for event in events))
    return Decided(incident=msgspec.structs.replace(incident, noticed=noticed), events=tuple(events))


def _ruled(incident: Incident, rule: Rule, now: float) -> Clock | None:
    due_at = due(incident, rule.name)
    if due_at is None:
        return None
    stopped = [
        (at, word) for word, field in rule.stops.items() if (at := getattr(incident, field)) is not None
    ]
    paged = incident.escalated.get(rule.escalates)
    if paged is not None:
        stopped.append((paged, "escalated"))
    met_at, met_by = min(stopped, default=(None, ""))
    start = _start(incident, rule)
    clock = made(
        kind=rule.kind,
        name=rule.name,
        started_by=_started_by(incident, start),
        started_at=start,
        due_at=due_at,
        now=now,
        met_at=met_at,
        met_by=met_by,
        ended_at=_ended(incident),
        breaches=not rule.escalates,
    )
    if (
        rule.name == "response"
        and met_at is None
        and (incident.merged_into or incident.verdict == "duplicate")
    ):
        why = f"duplicate of {incident.merged_into}" if incident.merged_into else "duplicate"
        return msgspec.structs.replace(clock, state="paused", breached_at=None, paused_reason=why)
    return clock


def _review(incident: Incident, now: float) -> list[Clock]:
    if incident.resolved_at is None or not review_mandatory(incident):
        return []
    return [
        made(
            kind="review",
            name="review",
            started_by="resolved",
            started_at=incident.resolved_at,
            due_at=incident.resolved_at + REVIEW_UNTIL,
            now=now,
            met_at=incident.review_at,
            met_by="review_started" if incident.review_at is not None else "",
        )
    ]


def _ended(incident: Incident) -> float | None:
    return incident.closed_at if incident.closed_at is not None else incident.resolved_at


def _start(incident: Incident, rule: Rule) -> float:
    times: list[float | None] = [getattr(incident, field) for field in rule.starts]
    return max(at for at in times if at is not None)


def _started_by(incident: Incident, start: float) -> str:
    if start == incident.clocks_from:
        return "opened" if start == incident.opened_at else "reopened"
    return "comm_sent"


def _breached(clock: Clock, now: float, once: str) -> IncidentEvent:
    when = "" if clock.due_at is None else rfc3339(clock.due_at)
    return IncidentEvent(
        kind="clock_breached",
        at=now,
        occurred_at=now if clock.due_at is None else clock.due_at,
        actor=SYSTEM_ACTOR,
        summary=f"Clock {clock.name} was breached: due {when}",
        details={"clock": clock.name, "kind": clock.kind, "due_at": when},
        once=once,
        csf="RS",
    )


def _warned(clock: Clock, now: float, once: str) -> IncidentEvent:
    when = "" if clock.due_at is None else rfc3339(clock.due_at)
    return IncidentEvent(
        kind="clock_warned",
        at=now,
        occurred_at=now if clock.warn_at is None else clock.warn_at,
        actor=SYSTEM_ACTOR,
        summary=f"Clock {clock.name} is due at {when}",
        details={"clock": clock.name, "kind": clock.kind, "due_at": when},
        once=once,
        csf="RS",
    )
