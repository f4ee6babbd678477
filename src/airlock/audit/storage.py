"""Room for the log: what is free, what it takes, how fast it grows, and for how long that goes well."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import msgspec

from airlock.audit import database
from airlock.audit.room import FREE_LOW, FREE_MIN
from airlock.core.clock import timestamp

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86400.0
WINDOW = 7 * DAY
"""Seconds over which growth is measured."""

YOUNGEST = 3600.0
"""Seconds that a log must span before its growth says anything of a day."""

DAYS_LOW = 7.0
"""Days left below which an operator should act."""


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes. `growth_per_day` is of the database; None: not known, and `unknown` says why."""

    path: str
    total: int
    free: int
    database: int
    journal: int
    rows: int | None
    growth_per_day: int | None
    days_left: float | None
    unknown: str
    findings: list[str]

    @property
    def exit(self) -> int:
        """0: room enough; 1: not; 3: nobody can say how fast it grows."""
        if self.findings:
            return 1
        return 3 if self.rows is None else 0


def look(data_dir: Path, *, now: float) -> Storage:
    """How the volume of a data directory stands; `now` in Unix seconds. Raises OSError where it is none."""
    stat = os.statvfs(data_dir)
    total, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
    taken = sum(_size(data_dir / f"audit.db{end}") for end in ("", "-wal"))
    rows, growth, unknown = _growth(data_dir / "audit.db", taken, now)
    left = None if growth is None or not growth else max(0.0, free - total * FREE_MIN) / growth
    return Storage(
        path=str(data_dir),
        total=total,
        free=free,
        database=taken,
        journal=_tree(data_dir / "journal"),
        rows=rows,
        growth_per_day=growth,
        days_left=None if left is None else round(left, 1),
        unknown=unknown,
        findings=_findings(total, free, left),
    )


def _findings(total: int, free: int, left: float | None) -> list[str]:
    share = free / total if total else 0.0
    if share <= FREE_MIN:
        return [f"{share:.1%} of the volume is free: below {FREE_MIN:.0%} no call is taken"]
    if share < FREE_LOW:
        return [f"{share:.1%} of the volume is free, less than {FREE_LOW:.0%}"]
    if left is not None and left < DAYS_LOW:
        return [f"at this growth there is room for {left:.1f} days"]
    return []


def _growth(path: Path, taken: int, now: float) -> tuple[int | None, int | None, str]:
    """Rows in the log, bytes that a day adds, and why that is not known."""
    try:
        with closing(database.open_reader(path)) as db:
            oldest = db.execute("SELECT MIN(timestamp) FROM audit_log").fetchone()[0]
            newest, rows = db.execute("SELECT MAX(n), MAX(n) - MIN(n) + 1 FROM audit_log").fetchone()
            since = timestamp(now - WINDOW)
            first = db.execute("SELECT MIN(+n) FROM audit_log WHERE timestamp >= ?", (since,)).fetchone()[0]
            spans = db.execute("SELECT (julianday(?) - julianday(?)) * 86400", (timestamp(now), oldest))
            age: float = spans.fetchone()[0] or 0.0
    except sqlite3.Error as error:
        return None, None, f"the database cannot be read: {error}"
    if not rows or age < YOUNGEST:
        return rows or 0, None, "the log is younger than an hour"
    recent = 0 if first is None else newest - first + 1
    return rows, round(taken / rows * recent / min(age, WINDOW) * DAY), ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tree(folder: Path) -> int:
    """Bytes on disk of all files below a folder; what goes away meanwhile counts nothing."""
    found = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += os.stat(os.path.join(root, name)).st_blocks * 512
    return found
