"""What a rule would have found in the log that is there: a hunt through the past, a threshold's price.

Reads `audit.db` and writes nothing. What is usual is learned from the rows before the period that is asked
for, as far as they are among the rows that are read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from airlock.audit import database
from airlock.core.clock import timestamp
from airlock.incident.detect import links, replay, seen
from airlock.incident.detect.catalogue import Rule
from airlock.incident.detect.memory import DAY, REMEMBERED, Memory
from airlock.incident.detect.seen import Seen
from airlock.model.incident import IncidentSeverity

MOST_ROWS = 1_000_000
"""Rows that are read, the newest: a minute of one core."""

MOST_HITS = 1000
SHOWN_IDS = 20

PAGE = 2000
"""Rows of one read transaction."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What would have been one alert. Times are Unix seconds."""

    severity: IncidentSeverity
    tenant: str
    group: dict[str, str]
    summary: str
    metric: float
    first: float
    last: float
    count: int
    event_ids: tuple[str, ...]


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `rows` were played, of which `learned_from` lie before `since`."""

    rule: str
    thresholds: dict[str, float]
    since: float
    until: float
    rows: int
    learned_from: int
    shortened: bool
    """There are more rows than are read: `since` is later than was asked."""
    alerts: int
    per_day: float
    hits: tuple[Found, ...]


def backtest(
    audit: Path,
    rule: Rule,
    *,
    since: float,
    now: float,
    thresholds: dict[str, float] | None = None,
    most: int = MOST_ROWS,
) -> Backtest:
    """Play the log to one rule. Raises `sqlite3.Error` where there is none, ValueError for a threshold that
    the rule does not have."""
    unknown = set(thresholds or {}) - set(rule.thresholds)
    if unknown:
        has = ", ".join(sorted(rule.thresholds)) or "none"
        raise ValueError(f"{rule.id} has no threshold {', '.join(sorted(unknown))}: it has {has}")
    with closing(database.open_reader(audit)) as db, closing(Memory()) as memory:
        db.text_factory = links.tolerant
        after, shortened = beginning(db, since, most)
        counted = _Counted(since)
        player = replay.Replay(memory, (rule,), {(rule.id, ""): replay.setting(thresholds or {})})
        found = replay.hits(player.play(counted.of(rows_after(db, after)), since=since), rule.window)
    began = max(since, counted.first) if shortened else since
    return Backtest(
        rule=rule.id,
        thresholds={**rule.thresholds, **(thresholds or {})},
        since=began,
        until=now,
        rows=counted.rows,
        learned_from=counted.before,
        shortened=shortened,
        alerts=len(found),
        per_day=round(len(found) / max(1.0, (now - began) / DAY), 2),
        hits=tuple(map(_shown, found[:MOST_HITS])),
    )


class _Counted:
    """Counts rows on their way."""

    def __init__(self, since: float) -> None:
        self._since = since
        self.rows = self.before = 0
        self.first = 0.0

    def of(self, rows: Iterator[Seen]) -> Iterator[Seen]:
        for row in rows:
            self.first = self.first or row.at
            self.rows += 1
            self.before += int(row.at < self._since)
            yield row


def beginning(db: sqlite3.Connection, since: float, most: int) -> tuple[int, bool]:
    """The row number to read after, and whether that cuts off a part of what was asked."""
    newest: int = db.execute("SELECT COALESCE(MAX(n), 0) FROM audit_log").fetchone()[0]

    def first(at: float) -> int:
        row = db.execute(
            "SELECT n FROM audit_log WHERE timestamp >= ? ORDER BY timestamp LIMIT 1", (timestamp(at),)
        ).fetchone()
        return row[0] - 1 if row else newest

    earliest = max(0, newest - most)
    return max(first(max(0.0, since - REMEMBERED * DAY)), earliest), first(since) < earliest


def rows_after(db: sqlite3.Connection, after: int) -> Iterator[Seen]:
    """The rows behind this row number, in their order."""
    while True:
        page = db.execute(seen.SELECT, (after, PAGE)).fetchall()
        yield from (row for row in map(seen.of_row, page) if row is not None)
        if len(page) < PAGE:
            return
        after = int(page[-1][0])


def _shown(hit: replay.Hit) -> Found:
    finding = hit.finding
    return Found(
        severity=finding.severity,
        tenant=finding.tenant,
        group=finding.group,
        summary=finding.summary,
        metric=finding.metric,
        first=hit.first,
        last=hit.last,
        count=hit.count,
        event_ids=finding.event_ids[:SHOWN_IDS],
    )
