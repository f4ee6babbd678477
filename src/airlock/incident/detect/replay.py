"""Rules over rows of the past, as if they came one after the other: for traces, backtests, simulations.

The same memory and the same questions as live. A rule is asked at steps of a quarter of its shortest window
(at least 15 seconds), and only where a row that it is about is in its window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from airlock.incident.detect import windows
from airlock.incident.detect.catalogue import Rule
from airlock.incident.detect.memory import HOUR, Memory
from airlock.incident.detect.seen import Seen
from airlock.model.detection import Setting, Settings
from airlock.model.incident import Finding

STEP = 15.0
"""Seconds between two looks of the engine."""

AT_ONCE = 2000
"""Rows handed to memory together, where no step lies between them."""


class Hit(msgspec.Struct, kw_only=True):
    """Findings of one rule and group with less than a window between them: what would be one alert."""

    finding: Finding
    """The gravest, of these the first."""
    first: float
    last: float
    count: int = 1


class _Asked(msgspec.Struct, kw_only=True):
    rule: Rule
    step: float
    due: float
    row: int = 0
    """The last row of `events` that was looked at."""
    until: float = 0.0
    """How long rows that it is about stay in its window."""


class Replay:
    """Plays rows to rules. `memory` is fed with them; the caller closes it."""

    def __init__(self, memory: Memory, rules: Iterable[Rule], settings: Settings | None = None) -> None:
        self._memory = memory
        self._settings: Settings = settings or {}
        shortest = {rule.id: min(fire.window for fire in rule.fires) for rule in rules}
        self._asked = [_Asked(rule=rule, step=max(STEP, shortest[rule.id] / 4), due=0.0) for rule in rules]
        self._forgotten = 0.0

    def play(self, rows: Iterable[Seen], *, since: float = 0.0) -> Iterator[Finding]:
        """What the rules find while these rows come, in their order; before `since` they only learn."""
        waiting: list[Seen] = []
        due = 0.0
        for row in rows:
            if waiting and (row.at > due or len(waiting) >= AT_ONCE):
                yield from self._look(waiting, due, since)
                waiting = []
            if not waiting:
                yield from self._late(row.at, since)
                due = max(due, self._next(row.at))
            waiting.append(row)
        if waiting:
            yield from self._look(waiting, due, since)
        yield from self._late(math.inf, since)

    def _next(self, at: float) -> float:
        """The next step of any rule at or after a moment."""
        return min(-(-at // each.step) * each.step for each in self._asked)

    def _look(self, rows: Sequence[Seen], now: float, since: float) -> Iterator[Finding]:
        self._memory.feed(rows)
        if now - self._forgotten >= HOUR:
            self._memory.forget(now)
            self._forgotten = now
        if now < since:
            return
        for each in self._asked:
            if now >= each.due and self._concerned(each, now):
                each.due = now + each.step
                yield from windows.run(self._memory.db, (each.rule,), now, self._settings)

    def _late(self, until: float, since: float) -> Iterator[Finding]:
        """What rules find that look less often than others, at their own next step before this moment: rows
        came since they were last asked."""
        last = self._last()
        for each in sorted(self._asked, key=lambda asked: asked.due):
            if since <= each.due < until and each.row < last and self._concerned(each, each.due):
                now = each.due
                each.due = now + each.step
                yield from windows.run(self._memory.db, (each.rule,), now, self._settings)

    def _last(self) -> int:
        """The newest row in memory."""
        return int(self._memory.db.execute("SELECT COALESCE(MAX(rowid), 0) FROM events").fetchone()[0])

    def _concerned(self, each: _Asked, now: float) -> bool:
        """Whether a row that this rule is about is in its window."""
        last = self._last()
        about = " OR ".join(f"({fire.where})" for fire in each.rule.fires)
        found = self._memory.db.execute(
            f"SELECT 1 FROM events WHERE rowid > ? AND ({about}) LIMIT 1",  # noqa: S608 (compiled rules)
            (each.row,),
        ).fetchone()
        each.row = last
        if found is not None:
            each.until = now + max(fire.window for fire in each.rule.fires)
        return now <= each.until


def hits(findings: Iterable[Finding], window: float) -> list[Hit]:
    """Findings folded as alerts would be, the oldest first."""
    open_: dict[tuple[str, ...], Hit] = {}
    done: list[Hit] = []
    for finding in findings:
        key = (finding.rule, finding.tenant, *(f"{k}={v}" for k, v in sorted(finding.group.items())))
        hit = open_.get(key)
        if hit is None or finding.until - hit.last > window:
            open_[key] = hit = Hit(finding=finding, first=finding.until, last=finding.until)
            done.append(hit)
            continue
        hit.last, hit.count = finding.until, hit.count + 1
        if finding.severity < hit.finding.severity:
            hit.finding = finding
    return done


def setting(thresholds: dict[str, float]) -> Setting:
    """A setting with other thresholds, and the rule on whatever its mode is."""
    return Setting(mode="active", thresholds=thresholds)
