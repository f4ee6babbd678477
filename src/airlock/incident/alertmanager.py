"""Alerts of a Prometheus Alertmanager: its webhook, version 4, as findings. Pure.

What it sends is somebody else's text: it is cut to what an alert may hold and never decides anything by
itself. A label `incident` names the incident that an alert belongs to; `tenant` its tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from airlock.incident.severity import MATRIX
from airlock.model.incident import SEVERITIES, Finding, IncidentSeverity

MOST_LABELS = 20
"""Labels by which an alert is told apart."""

LONGEST_LABEL, LONGEST_TEXT = 200, 500
"""Characters of a label, and of a summary."""

UNTOLD: IncidentSeverity = "P2"
"""Severity of an alert that says none that is known."""

_WORDS: Mapping[str, IncidentSeverity] = {
    **{row.pagerduty: severity for severity, row in MATRIX.items()},
    **{severity.lower(): severity for severity in SEVERITIES},
    "page": "P1",
    "high": "P1",
    "medium": "P2",
    "low": "P3",
    "none": "P3",
}
"""Severity by the label `severity`, in lower case: words of PagerDuty, ours, and what rules often say."""

_NO_GROUP = frozenset({"alertname", "severity", "incident", "tenant"})


class Outside(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert of a webhook."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    annotations: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    starts_at: datetime | None = None


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook of version 4. Members that are not named here mean nothing here."""

    version: Literal["4"]
    alerts: tuple[Outside, ...]


def finding(alert: Outside, now: float) -> Finding:
    """What an alert says. A beginning that lies ahead, or is none, is now."""
    labels = {key[:LONGEST_LABEL]: value[:LONGEST_LABEL] for key, value in sorted(alert.labels.items())}
    group = {key: value for key, value in labels.items() if key not in _NO_GROUP and value}
    name = labels.get("alertname", "") or "alert"
    told = alert.annotations.get("summary") or alert.annotations.get("description") or name
    return Finding(
        rule=name,
        severity=_WORDS.get(labels.get("severity", "").lower(), UNTOLD),
        tenant=labels.get("tenant", ""),
        group=dict(list(group.items())[:MOST_LABELS]),
        summary=told[:LONGEST_TEXT],
        since=_since(alert.starts_at, now),
        until=now,
        confidence="medium",
        source="monitoring_alert",
        labels={"incident": labels["incident"]} if labels.get("incident") else {},
    )


def _since(at: datetime | None, now: float) -> float:
    if at is None or at.tzinfo is None:
        return now
    return min(max(0.0, at.timestamp()), now)
