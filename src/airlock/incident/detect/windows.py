"""The rules that look at a window: each asks memory its compiled question, and what comes back are findings.

A question is bounded by its window and by what memory keeps. A group that is over several thresholds of a
rule gives one finding, the gravest. Nothing here writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airlock.incident.detect.catalogue import Fire, Rule
from airlock.model.detection import Setting, Settings
from airlock.model.incident import SEVERITIES, Finding

MOST_IDS = 1000
"""Ids of rows in a finding."""

MOST_GROUPS = 1000
"""Findings of one rule in one pass, those with the highest metric first: a flood of groups stays bounded."""

HOUR = 3600.0


def run(db: sqlite3.Connection, rules: Iterable[Rule], now: float, settings: Settings) -> list[Finding]:
    """What the rules find in the windows that end now. `db` is that of a `Memory`; raises `sqlite3.Error`.

    A rule that is inactive is not asked. Findings of a rule in mode `monitor` are given like others: who acts
    on them looks at the mode.
    """
    return [finding for rule in rules for finding in _asked(db, rule, now, settings)]


class News:
    """Which findings say something that was not said before: rows stay in a window for many passes."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, ...], tuple[float, str]] = {}

    def of(self, findings: Iterable[Finding]) -> list[Finding]:
        """Those with a row that is newer than what was told of their group, and those that became graver."""
        return [each for each in findings if self._new(each)]

    def told(self, findings: Iterable[Finding]) -> None:
        """All of these are known now; what is not found any more is forgotten."""
        self._said = {_group(each): (each.until, each.severity) for each in findings}

    def _new(self, finding: Finding) -> bool:
        until, severity = self._said.get(_group(finding), (0.0, "P9"))
        return finding.until > until or finding.severity < severity


def _group(finding: Finding) -> tuple[str, ...]:
    return (finding.rule, finding.tenant, *(f"{name}={value}" for name, value in finding.group.items()))


def thresholds(rule: Rule, settings: Settings, tenant: str = "") -> dict[str, float]:
    """The thresholds that hold for a tenant: those of the rule, of everywhere, and its own."""
    everywhere = settings.get((rule.id, ""), Setting())
    own = settings.get((rule.id, tenant), Setting())
    return {**rule.thresholds, **everywhere.thresholds, **own.thresholds}


def mode(rule: Rule, settings: Settings, tenant: str = "") -> str:
    """The mode that holds for a tenant."""
    own = settings.get((rule.id, tenant), Setting())
    return own.mode or settings.get((rule.id, ""), Setting()).mode or rule.mode


def _asked(db: sqlite3.Connection, rule: Rule, now: float, settings: Settings) -> Iterator[Finding]:
    tenants = sorted({tenant for id_, tenant in settings if id_ == rule.id} | {""})
    gravest: dict[tuple[str, ...], Finding] = {}
    for tenant in tenants:
        if mode(rule, settings, tenant) == "inactive":
            continue
        values = thresholds(rule, settings, tenant)
        for fire in rule.fires:
            for found in _fired(db, rule, fire, now, values):
                of = found.tenant if found.tenant in tenants else ""
                if of == tenant:
                    gravest[_group(found)] = _graver(gravest.get(_group(found)), found)
    yield from gravest.values()


def _graver(one: Finding | None, other: Finding) -> Finding:
    if one is None:
        return other
    return one if SEVERITIES.index(one.severity) <= SEVERITIES.index(other.severity) else other


def _fired(
    db: sqlite3.Connection, rule: Rule, fire: Fire, now: float, values: Mapping[str, float]
) -> Iterator[Finding]:
    bound: dict[str, Any] = {"since": now - fire.window, "until": now, "hour": int(now // HOUR), **values}
    cursor = db.execute(f"SELECT * FROM ({fire.sql}) ORDER BY metric DESC LIMIT {MOST_GROUPS}", bound)  # noqa: S608
    names = [column[0] for column in cursor.description]
    for row in cursor.fetchall():
        found = dict(zip(names, row, strict=True))
        group = {key: str(found[key]) for key in fire.group if key != "tenant"}
        unsure = "usual" in found and not found["usual"]
        yield Finding(
            rule=rule.id,
            severity=fire.severity,
            tenant=str(found.get("tenant", "")),
            group=group,
            summary=_said(rule, fire, float(found["metric"]), group),
            metric=float(found["metric"]),
            since=float(found["since"]),
            until=float(found["until"]),
            event_ids=_ids(db, fire, bound, found),
            confidence="low" if unsure else fire.confidence,
            labels={"fire": fire.name.partition("_")[2].partition("_")[2]},
        )


def _said(rule: Rule, fire: Fire, metric: float, group: Mapping[str, str]) -> str:
    about = ", ".join(f"{key} {value}" for key, value in group.items() if value)
    return f"{rule.title}: {metric:g} within {fire.window:g} s" + (f" ({about})" if about else "")


def _ids(
    db: sqlite3.Connection, fire: Fire, bound: Mapping[str, Any], found: Mapping[str, Any]
) -> tuple[str, ...]:
    """Ids of the rows behind a finding, the oldest first."""
    same = "".join(f" AND {key} = :of_{key}" for key in fire.group)
    keys = {f"of_{key}": found[key] for key in fire.group}
    rows = db.execute(
        f"SELECT id FROM events WHERE at > :since AND at <= :until AND ({fire.where}){same} AND id <> ''"  # noqa: S608
        f" ORDER BY at LIMIT {MOST_IDS}",
        {**bound, **keys},
    )
    return tuple(row[0] for row in rows)
