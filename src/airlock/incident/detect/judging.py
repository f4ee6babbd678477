"""How grave a count is, and how sure: the judgements of rules that count. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from airlock.incident.detect.catalogue import Confidence
from airlock.incident.detect.window import Count
from airlock.model.incident import IncidentSeverity

Thresholds = Mapping[str, float]
"""Of one rule, by name."""


class Verdict(msgspec.Struct, frozen=True):
    """What a count means."""

    severity: IncidentSeverity
    confidence: Confidence
    metric: float


def at_least(name: str, severity: IncidentSeverity, confidence: Confidence) -> Callable[..., Verdict | None]:
    """Fires from a total on."""

    def judge(count: Count, thresholds: Thresholds) -> Verdict | None:
        return Verdict(severity, confidence, count.total) if count.total >= thresholds[name] else None

    return judge


def different(name: str, severity: IncidentSeverity, confidence: Confidence) -> Callable[..., Verdict | None]:
    """Fires from a number of different things on."""

    def judge(count: Count, thresholds: Thresholds) -> Verdict | None:
        return Verdict(severity, confidence, count.distinct) if count.distinct >= thresholds[name] else None

    return judge


SEVERAL = 5
"""Different things that were refused before a burst is more than one mistake that repeats."""


def burst(count: Count, thresholds: Thresholds) -> Verdict | None:
    """Refusals: sure where they are not one that repeats."""
    if count.total < thresholds["count"]:
        return None
    severity = "P1" if count.total >= thresholds["grave"] else "P2"
    return Verdict(severity, "high" if count.distinct >= SEVERAL else "medium", count.total)


def spray(count: Count, thresholds: Thresholds) -> Verdict | None:
    """One token over and over is a client that was left alone with it."""
    if count.total < thresholds["count"]:
        return None
    return Verdict("P2", "high" if count.distinct >= thresholds["tokens"] else "low", count.total)


def spray_outdated(count: Count, thresholds: Thresholds) -> Verdict | None:
    """Tokens that counted once, or will: nobody is sure."""
    return Verdict("P2", "low", count.total) if count.total >= thresholds["count"] else None


def escalation(count: Count, thresholds: Thresholds) -> Verdict | None:
    """The first may be a mistake."""
    if count.total < thresholds["admin"]:
        return None
    return Verdict("P1", "high" if count.total >= thresholds["count"] else "medium", count.total)


def identical(count: Count, thresholds: Thresholds) -> Verdict | None:
    """The same over and over: somebody may wait for a change, until it runs away."""
    if count.total < thresholds["identical"]:
        return None
    return Verdict("P2", "high" if count.total >= thresholds["runaway"] else "medium", count.total)
