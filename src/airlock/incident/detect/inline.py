"""The rules that act at once, together: rows in, findings out. Pure; the order of the log is the order here.

Each rule decides by its own rows and thresholds, which may differ by tenant. A group that fires is told once,
then every ten seconds while it goes on, and at once where it became graver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airlock.incident.detect.catalogue import Rule
from airlock.incident.detect.counting import COUNTING, Counting
from airlock.incident.detect.facts import Fact
from airlock.incident.detect.judging import Thresholds, Verdict
from airlock.incident.detect.sequences import Carried, Evading, Failing, Found, Keyless, Sequence
from airlock.incident.detect.window import Count, Group, Tally, due
from airlock.model.incident import SEVERITIES, Finding

Chosen = Callable[[str, str], Thresholds]
"""The thresholds of a rule for a tenant."""

_SURE = ("low", "medium", "high")


class Detectors:
    """Every rule that acts at once. `see` takes rows in the order of the log."""

    def __init__(self, catalogue: Mapping[str, Rule], chosen: Chosen) -> None:
        self._chosen = chosen
        self._counting = [
            (rule, Tally(rule.window or catalogue[rule.rule].window))
            for rule in COUNTING
            if rule.rule in catalogue
        ]
        self.keyless = Keyless()
        self.evading = Evading(window=catalogue["MCP-027"].window)
        self._sequences: tuple[Sequence, ...] = (
            Carried("MCP-009", window=catalogue["MCP-009"].window),
            Carried("MCP-010", window=catalogue["MCP-010"].window),
            Failing(window=catalogue["MCP-024"].window),
            self.keyless,
            self.evading,
        )
        self._told = Tally(3600.0)

    def see(self, fact: Fact) -> list[Finding]:
        """What this row makes known."""
        findings: list[Finding] = []
        for rule, tally in self._counting:
            if rule.wants(fact):
                found = self._counted(rule, tally, fact)
                if found is not None:
                    findings.append(found)
        for sequence in self._sequences:
            made = sequence.see(fact, self._chosen(sequence.rule, fact.seen.tenant))
            if made is not None and self._news(sequence.rule, made, fact.seen.at):
                findings.append(_of_sequence(sequence.rule, made, fact))
        return findings

    def _counted(self, rule: Counting, tally: Tally, fact: Fact) -> Finding | None:
        seen, named = fact.seen, rule.group(fact)
        key = (seen.tenant, *named.values(), rule.apart(fact))
        group = tally.add(key, seen.at, weight=rule.weight(fact), marks=rule.marks(fact), id=seen.id)
        count = tally.count(group, seen.at)
        verdict = rule.judge(count, self._chosen(rule.rule, seen.tenant))
        if verdict is None or not due(group, seen.at, gravity(verdict)):
            return None
        return _of_count(rule, named, count, verdict, fact)

    def _news(self, rule: str, found: Found, at: float) -> bool:
        group: Group = self._told.add((rule, *found.group.values()), at)
        return due(group, at, gravity(found.verdict))


def gravity(verdict: Verdict) -> int:
    """How grave and how sure; more of either is more."""
    return (len(SEVERITIES) - SEVERITIES.index(verdict.severity)) * 10 + _SURE.index(verdict.confidence)


def _of_count(rule: Counting, named: dict[str, str], count: Count, verdict: Verdict, fact: Fact) -> Finding:
    group = {key: value for key, value in named.items() if value}
    words = {**dict.fromkeys(named, ""), **group, "metric": f"{verdict.metric:g}"}
    return Finding(
        rule=rule.rule,
        severity=verdict.severity,
        confidence=verdict.confidence,
        tenant=fact.seen.tenant,
        group=group,
        summary=rule.says.format(**words),
        metric=verdict.metric,
        since=min(count.since, fact.seen.at),
        until=fact.seen.at,
        event_ids=count.ids,
    )


def _of_sequence(rule: str, found: Found, fact: Fact) -> Finding:
    return Finding(
        rule=rule,
        severity=found.verdict.severity,
        confidence=found.verdict.confidence,
        tenant=fact.seen.tenant,
        group={key: value for key, value in found.group.items() if value},
        summary=found.summary,
        metric=found.verdict.metric,
        since=found.since,
        until=fact.seen.at,
        event_ids=found.ids,
    )
