"""Compile the detection rules: `rules.py` writes `src/airlock/incident/rules/compiled.json`.

pySigma reads the Sigma of each rule and turns its conditions into SQL. What is counted over a window is laid
around them here, and not by pySigma's SQLite backend: that folds upper and lower case of group keys, so that
two subjects could become one, and gives a row for each event instead of one for each group.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationCondition, SigmaCorrelationRule
from sigma.rule import SigmaDetectionItem, SigmaRule

from airlock.core.units import duration
from airlock.incident.detect.catalogue import Answer, Fire, Rule
from airlock.incident.detect.seen import COLUMNS

RULES = Path(__file__).resolve().parents[1] / "src/airlock/incident/rules"
MAY_BE_EMPTY = frozenset({"tenant", "issuer", "component", "tool"})
"""Group keys that a row need not have."""


class Defect(ValueError):
    """A rule that cannot be compiled; the text names it."""


class Measure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to fire that Sigma has no words for: `airlock.measures` of a rule."""

    name: str
    shape: str
    of: str
    group: tuple[str, ...]
    window: str
    threshold: str
    severity: str
    confidence: str = "high"
    among: str = ""
    field: str = ""
    over: str = ""
    short: str = ""
    factor: str = ""
    least: str = ""


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`airlock` of the first document of a rule."""

    rule: str
    tier: str
    severity: str
    mode: str
    window: str
    responses: tuple[dict[str, Any], ...]
    mapping: tuple[str, ...]
    thresholds: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    measures: tuple[Measure, ...] = ()


class Firing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`airlock` of a correlation."""

    severity: str
    threshold: str = ""
    confidence: str = "high"


def rows_of(where: str, *, group: tuple[str, ...] = (), window: str = ":since") -> str:
    """The condition of a question over a window, with the keys that a row needs."""
    needed = "".join(f" AND {key} <> ''" for key in group if key not in MAY_BE_EMPTY)
    return f"at > {window} AND at <= :until{needed} AND ({where})"


def counted(measure: str, where: str, group: tuple[str, ...], least: str) -> str:
    """Groups whose measure is over a threshold. SQLite compares the keys byte by byte."""
    keys = ", ".join(group)
    return (
        f"SELECT {keys}, {measure} AS metric, MIN(at) AS since, MAX(at) AS until FROM events"
        f" WHERE {rows_of(where, group=group)} GROUP BY {keys} HAVING metric {least}"
    )


def ordered(first: str, then: str, group: tuple[str, ...]) -> str:
    """Groups in which something was followed by something else."""
    keys = ", ".join(group)
    same = " AND ".join(f"b.{key} = a.{key}" for key in group)
    begun = f"SELECT {keys}, MIN(at) AS at FROM events WHERE {rows_of(first, group=group)} GROUP BY {keys}"
    second = f"SELECT {keys}, at FROM events WHERE {rows_of(then, group=group)}"
    own = ", ".join(f"a.{key}" for key in group)
    return (
        f"SELECT {own}, 2 AS metric, a.at AS since, MAX(b.at) AS until FROM ({begun}) a JOIN ({second}) b"
        f" ON {same} AND b.at > a.at GROUP BY {own}"
    )


def of_correlation(rule: SigmaCorrelationRule, where: dict[str, str], values: dict[str, float]) -> Fire:
    """One way to fire from a Sigma correlation; notes its threshold in `values`."""
    about = msgspec.convert(rule.custom_attributes["airlock"], Firing)
    group = tuple(rule.group_by or ())
    conditions = [where[each.reference] for each in rule.rules or ()]
    kind = rule.type.name.lower()
    if kind == "temporal_ordered":
        sql = ordered(conditions[0], conditions[1], group)
    else:
        limit = rule.condition
        if not isinstance(limit, SigmaCorrelationCondition) or limit.op.name not in {"GTE", "GT"}:
            raise Defect(f"{rule.name}: needs a condition gte or gt")
        values[about.threshold] = float(limit.count)
        measure = {
            "event_count": "SUM(times)",
            "value_count": f"COUNT(DISTINCT {limit.fieldref})",
            "value_sum": f"SUM({limit.fieldref})",
        }[kind]
        least = f"{'>=' if limit.op.name == 'GTE' else '>'} :{about.threshold}"
        sql = counted(measure, conditions[0], group, least)
    return fire(
        str(rule.name), about, rule.timespan.seconds, group=group, where=" OR ".join(conditions), sql=sql
    )


def of_measure(it: Measure, where: dict[str, str]) -> Fire:
    """One way to fire from a measure."""
    group, named = ", ".join(it.group), where[it.of]
    hours = int(duration(it.over or "0s") // 3600)
    same = " AND ".join(f"h.{key} = g.{key}" for key in it.group)
    past = f"{same} AND h.hour >= :hour - {hours} AND h.hour < :hour"
    window = rows_of(named, group=it.group)
    shapes: dict[str, Callable[[], str]] = {
        "maximum": lambda: counted(f"MAX({it.field})", named, it.group, f">= :{it.threshold}"),
        "share": lambda: _share(it, named, where[it.among]),
        "above_p99": lambda: _above(it, window, group, past, hundredth=True),
        "above_mean": lambda: _above(it, window, group, past, hundredth=False),
        "fallen_to_zero": lambda: _fallen(it, window, group, past),
        "slow_share": lambda: _slow(it, named, past),
    }
    sql = shapes[it.shape]()
    about = Firing(severity=it.severity, threshold=it.threshold, confidence=it.confidence)
    return fire(f"{it.of[:7]}_{it.name}", about, duration(it.window), group=it.group, where=named, sql=sql)


def _share(it: Measure, named: str, among: str) -> str:
    keys = ", ".join(it.group)
    hit = f"SUM(CASE WHEN {named} THEN times ELSE 0 END)"
    return (
        f"SELECT {keys}, 1.0 * {hit} / SUM(times) AS metric, MIN(at) AS since, MAX(at) AS until FROM events"
        f" WHERE {rows_of(f'({named}) OR ({among})')} GROUP BY {keys}"
        f" HAVING SUM(times) >= :{it.least} AND metric > :{it.threshold}"
    )


def _above(it: Measure, window: str, group: str, past: str, *, hundredth: bool) -> str:
    """More than a threshold, and more than so many times what an hour has otherwise."""
    hourly = f"SELECT SUM(h.{it.field}) AS v FROM hours h WHERE {past} GROUP BY h.hour HAVING v > 0"
    usual = (
        "SELECT v FROM (SELECT v, ROW_NUMBER() OVER (ORDER BY v DESC) AS place, COUNT(*) OVER () AS of"
        f" FROM ({hourly})) WHERE place = of / 100 + 1"
        if hundredth
        else f"SELECT AVG(v) FROM ({hourly})"
    )
    return (
        f"SELECT {group}, metric, since, until, COALESCE(({usual}), 0) AS usual FROM"
        f" (SELECT {group}, SUM({it.field}) AS metric, MIN(at) AS since, MAX(at) AS until FROM events"
        f" WHERE {window} GROUP BY {group} HAVING metric >= :{it.threshold}) g"
        f" WHERE metric > :{it.factor} * COALESCE(({usual}), 0)"
    )


def _fallen(it: Measure, window: str, group: str, past: str) -> str:
    """Many calls, none redacted, and a past that says how many there should be."""
    seen = " AND ".join(f"r.{key} = g.{key}" for key in it.group)
    usual = f"(SELECT 1.0 * SUM(h.{it.field}) / MAX(1, SUM(h.calls)) FROM hours h WHERE {past})"
    return (
        f"SELECT {group}, metric, since, until, {usual} AS usual FROM (SELECT {group}, COUNT(*) AS metric,"
        f" MIN(at) AS since, MAX(at) AS until FROM events WHERE {window} GROUP BY {group}"
        f" HAVING metric >= :{it.threshold}) g WHERE NOT EXISTS (SELECT 1 FROM events r WHERE {seen}"
        f" AND r.at > :since AND r.at <= :until AND r.{it.field} > 0) AND metric * {usual} >= :{it.factor}"
    )


def _slow(it: Measure, named: str, past: str) -> str:
    """A share of slow calls over a threshold in a long and in a short window, and unusual for the server."""
    long, short = duration(it.window), duration(it.short)
    share = "1.0 * SUM(latency_ms > 200) / COUNT(*)"
    asked = (
        f"SELECT COUNT(*) AS calls, {share} AS v FROM events e WHERE e.server = g.server AND e.at <= :until"
    )
    recent = f"({asked} AND e.at > :until - {short:.0f} AND ({named}))"
    # Hours that reach into the window are judged: what is usual is what was so before them.
    before = past.replace("h.hour < :hour", "h.hour < CAST(:since / 3600 AS INTEGER)")
    usual = f"(SELECT 1.0 * SUM(h.slow) / MAX(1, SUM(h.calls)) FROM hours h WHERE {before})"
    if long <= 3600:
        over = (
            f"SELECT server, {share} AS metric, COUNT(*) AS calls, MIN(at) AS since, MAX(at) AS until FROM"
            f" events WHERE {rows_of(named, group=it.group)} GROUP BY server"
        )
    else:
        over = (
            "SELECT server, 1.0 * SUM(slow) / MAX(1, SUM(calls)) AS metric, SUM(calls) AS calls,"
            " :since AS since, :until AS until FROM hours"
            f" WHERE hour > :hour - {long / 3600:.0f} AND server <> '' GROUP BY server"
        )
    return (
        f"SELECT server, metric, since, until, COALESCE({usual}, 0) AS usual FROM ({over}) g"
        f" WHERE calls >= :{it.least} AND metric > :{it.threshold} AND metric > 3 * COALESCE({usual}, 0)"
        f" AND EXISTS (SELECT 1 FROM {recent} WHERE calls >= :{it.least} / 5 AND v > :{it.threshold})"
    )


def fire(name: str, about: Firing, window: float, *, group: tuple[str, ...], where: str, sql: str) -> Fire:
    """One way to fire, whole."""
    fields = {"severity": about.severity, "confidence": about.confidence}
    whole = {"name": name, "window": float(window), "group": group, "where": where, "sql": sql, **fields}
    return msgspec.convert(whole, Fire)


def compile_rule(text: str) -> Rule:
    """One `rule.yml`. Raises `Defect`, `msgspec.ValidationError` or an error of pySigma."""
    documents = SigmaCollection.from_yaml(text).rules
    heads = [
        each for each in documents if isinstance(each, SigmaRule) and "airlock" in each.custom_attributes
    ]
    if len(heads) != 1:
        raise Defect(f"{documents[0].name}: one document of what rows look like must have `airlock`")
    first = heads[0]
    head = msgspec.convert(first.custom_attributes["airlock"], Head)
    where = {str(rule.name): condition(rule) for rule in documents if isinstance(rule, SigmaRule)}
    values: dict[str, float] = dict(head.thresholds)
    fires = [
        *(
            of_correlation(each, where, values)
            for each in documents
            if isinstance(each, SigmaCorrelationRule)
        ),
        *(of_measure(each, where) for each in head.measures),
    ]
    unknown = {key for each in fires for key in each.group} - set(COLUMNS)
    if unknown:
        raise Defect(f"{head.rule}: no column is called {', '.join(sorted(unknown))}")
    whole = {
        "id": head.rule,
        "title": first.title,
        "description": str(first.description).strip(),
        "tier": head.tier,
        "severity": head.severity,
        "mode": head.mode,
        "confidence": fires[0].confidence,
        "window": duration(head.window),
        "thresholds": values,
        "responses": tuple(map(answer, head.responses)),
        "mapping": head.mapping,
        "false_positives": tuple(first.falsepositives),
        "fires": fires,
    }
    return msgspec.convert(whole, Rule)


def answer(given: dict[str, Any]) -> Answer:
    """One response, its duration in seconds."""
    ttl = given.get("ttl")
    return msgspec.convert({**given, "ttl": None if ttl is None else duration(ttl)}, Answer)


def condition(rule: SigmaRule) -> str:
    """What a row must look like, as SQL."""
    unknown = set(fields(rule)) - set(COLUMNS)
    if unknown:
        raise Defect(f"{rule.name}: no field is called {', '.join(sorted(unknown))}")
    alone = SigmaRule.from_dict(rule.to_dict())  # a rule that a correlation uses gives nothing by itself
    (query,) = sqliteBackend().convert_rule(alone)
    return str(query).partition(" WHERE ")[2]


def fields(rule: SigmaRule) -> Iterator[str]:
    """The names that a rule looks at."""
    for detection in rule.detection.detections.values():
        for item in detection.detection_items:
            if isinstance(item, SigmaDetectionItem) and item.field is not None:
                yield item.field


def compiled() -> bytes:
    """The whole catalogue, as it is checked in."""
    found = [compile_rule(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*/rule.yml"))]
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


if __name__ == "__main__":
    (RULES / "compiled.json").write_bytes(compiled())
    sys.exit(0)
