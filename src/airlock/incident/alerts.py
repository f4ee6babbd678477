"""The states of an alert, and how findings fold into one. Pure.

`NEW -> ACKNOWLEDGED -> DECLARED | ATTACHED | DISMISSED`; `NEW | ACKNOWLEDGED -> SUPPRESSED`, which is NEW
again on read once its time is over. An alert from outside that says it is over is RESOLVED; its incident is
not. Whoever declares, attaches or dismisses an alert has seen it: it is acknowledged on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from airlock.core.clock import timestamp
from airlock.mcp import strict
from airlock.model.incident import SEVERITIES, Alert, AlertState, Finding, Verdict
from airlock.model.lease import Unfit

MOST_IDS = 1000
"""Ids of rows that an alert names; `query` finds the others."""

Step = Literal["acknowledge", "declare", "attach", "dismiss", "suppress", "resolve"]

TRANSITIONS: Mapping[Step, tuple[tuple[AlertState, ...], AlertState]] = {
    "acknowledge": (("NEW",), "ACKNOWLEDGED"),
    "declare": (("NEW", "ACKNOWLEDGED"), "DECLARED"),
    "attach": (("NEW", "ACKNOWLEDGED"), "ATTACHED"),
    "dismiss": (("NEW", "ACKNOWLEDGED"), "DISMISSED"),
    "suppress": (("NEW", "ACKNOWLEDGED"), "SUPPRESSED"),
    "resolve": (("NEW", "ACKNOWLEDGED", "SUPPRESSED", "DECLARED", "ATTACHED"), "RESOLVED"),
}
"""From where each step leads to where. There are no others, but for the return from SUPPRESSED."""

OVER: tuple[AlertState, ...] = ("DISMISSED", "RESOLVED")
"""States into which nothing folds any more: what is found then is another alert."""

VERDICTS: tuple[Verdict, ...] = (
    "true_positive",
    "false_positive",
    "benign",
    "test",
    "duplicate",
    "insufficient_data",
)

_COLUMNS: Mapping[str, str] = {
    "subject": "subject",
    "source_ip": "json_extract(metadata, '$.source_ip')",
    "server": "server_id",
    "tool": "tool_name",
}
"""Where `audit_events` has what findings are grouped by."""


def fingerprint(finding: Finding) -> str:
    """SHA-256 of the rule, the group and the tenant: findings that have it are one alert."""
    about = [finding.rule, dict(sorted(finding.group.items())), finding.tenant]
    return hashlib.sha256(strict.canonical(about)).hexdigest()


def folded(before: Alert | None, finding: Finding, now: float, id: str) -> Alert:
    """The alert that this finding makes, or goes into. `before`: the newest of the fingerprint; `id`: for a
    new one. An alert never gets less grave, and a suppressed one stays quiet unless it gets graver: nobody
    agreed not to hear of that."""
    if before is None or before.state in OVER:
        return Alert(
            id=id,
            fingerprint=fingerprint(finding),
            finding=finding,
            first_seen=finding.since,
            last_seen=max(finding.since, finding.until),
            event_ids=finding.event_ids[:MOST_IDS],
            query=query(finding),
        )
    before = as_read(before, now)
    gravest = min(before.finding.severity, finding.severity, key=SEVERITIES.index)
    if before.state == "SUPPRESSED" and gravest != before.finding.severity:
        before = msgspec.structs.replace(before, state="NEW", suppressed_until=None)
    ids = before.event_ids
    if len(ids) < MOST_IDS:
        ids = tuple(dict.fromkeys((*ids, *finding.event_ids)))[:MOST_IDS]
    return msgspec.structs.replace(
        before,
        finding=msgspec.structs.replace(finding, severity=gravest),
        count=before.count + 1,
        last_seen=max(before.last_seen, finding.until),
        event_ids=ids,
        version=before.version + 1,
    )


def query(finding: Finding) -> str:
    """A question to `audit_events` that gives the rows of the group since the finding began."""
    conditions = [f"timestamp >= '{timestamp(finding.since)}'"]
    for name, column in _COLUMNS.items():
        value = finding.group.get(name, "")
        if value and not (name == "source_ip" and "/" in value):  # rows have addresses, never networks
            quoted = value.replace("'", "''").replace("\0", "")
            conditions.append(f"{column} = '{quoted}'")
    return f"SELECT * FROM audit_events WHERE {' AND '.join(conditions)}"  # noqa: S608 - a person runs it


def as_read(alert: Alert, now: float) -> Alert:
    """The alert as it stands at this time."""
    if alert.state != "SUPPRESSED" or (alert.suppressed_until or 0.0) > now:
        return alert
    return msgspec.structs.replace(alert, state="NEW", suppressed_until=None)


def acknowledge(alert: Alert, who: str, now: float) -> Alert:
    """Somebody has seen it. Raises `Unfit` `alert_state`."""
    return _step("acknowledge", alert, who, now)


def declare(alert: Alert, incident: str, who: str, now: float) -> Alert:
    """It is the beginning of this incident. Raises `Unfit` `alert_state`."""
    return msgspec.structs.replace(_step("declare", alert, who, now), incident=incident)


def attach(alert: Alert, incident: str, who: str, now: float) -> Alert:
    """It belongs to this incident. Raises `Unfit` `alert_state`."""
    return msgspec.structs.replace(_step("attach", alert, who, now), incident=incident)


def dismiss(alert: Alert, verdict: Verdict, who: str, now: float) -> Alert:
    """It is nothing, and why. Raises `Unfit`: `alert_state`, `verdict_missing`."""
    if verdict not in VERDICTS:
        raise Unfit("verdict_missing", f"Say what it was: one of {', '.join(VERDICTS)}.")
    return msgspec.structs.replace(_step("dismiss", alert, who, now), verdict=verdict)


def suppress(alert: Alert, until: float, who: str, now: float) -> Alert:
    """Nobody wants to hear of it before `until`. Raises `Unfit`: `alert_state`, `time_invalid`."""
    if until <= now:
        raise Unfit("time_invalid", "The end of the silence has passed already.")
    return msgspec.structs.replace(_step("suppress", alert, who, now), suppressed_until=until)


def resolve(alert: Alert, now: float) -> Alert:
    """Whoever raised it says that it is over. Raises `Unfit` `alert_state`."""
    sources, _ = TRANSITIONS["resolve"]
    alert = as_read(alert, now)
    _allowed("resolve", alert, sources)
    return msgspec.structs.replace(
        alert, state="RESOLVED", last_seen=max(alert.last_seen, now), version=alert.version + 1
    )


def _step(step: Step, alert: Alert, who: str, now: float) -> Alert:
    alert = as_read(alert, now)
    sources, target = TRANSITIONS[step]
    _allowed(step, alert, sources)
    seen = alert.acknowledged_at is None and step != "suppress"
    return msgspec.structs.replace(
        alert,
        state=target,
        acknowledged_at=now if seen else alert.acknowledged_at,
        acknowledged_by=who if seen else alert.acknowledged_by,
        version=alert.version + 1,
    )


def _allowed(step: Step, alert: Alert, sources: tuple[AlertState, ...]) -> None:
    if alert.state not in sources:
        text = f"The alert is {alert.state}; {step} needs {' or '.join(sources)}."
        raise Unfit("alert_state", text)
