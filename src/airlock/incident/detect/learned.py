"""What a row means given what was there before: each column that is more than its row, at a cost that does
not grow with history.

State lives in the tables of `airlock.incident.detect.memory`; dictionaries here only save questions to them,
are bounded, and may be empty at any time.
"""

from __future__ import annotations

import sqlite3
from typing import TypeVar

from airlock.incident.detect.seen import Seen

HOUR = 3600.0
DAY = 24 * HOUR

MOST_REMEMBERED = 50_000
"""Sessions, tokens, subjects and refusals at hand. What is over starts anew from the tables."""

FLIP_WITHIN = 600.0
"""Seconds between a refusal by policy and the call that then went through."""

MOVE_WITHIN = HOUR
"""Seconds within which one token in two programs and two networks is no move of its owner."""

LEARNED_DAYS = 7
"""Days with calls after which the hours of a subject are known."""

SENSITIVE = frozenset({"high", "critical"})

_Who = tuple[str, str, str]

_Place = tuple[str, str, float]
"""Network and program that used a session or token last, and when."""

K = TypeVar("K")
V = TypeVar("V")


class Learned:
    """Adds to each row what it means. Rows come in the order of the log."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._places: dict[tuple[str, str, str], _Place] = {}
        self._refused: dict[tuple[str, ...], tuple[float, str, str]] = {}
        self._days: dict[_Who, tuple[int, int]] = {}
        self._since: float | None = None

    def enrich(self, row: Seen) -> None:
        """Fill in `moved`, `flipped`, `unusual_hour` and `idle_days`."""
        if self._since is None:
            self._since = self._beginning(row.at)
        if row.subject and row.event_type == "call":
            row.moved = self._moved(row)
            self._flip(row)
            if row.phase == "outcome" and row.decision == "allow":
                self._habit(row)
                if row.sensitivity == "critical":
                    row.idle_days = self._idle(row)

    def _beginning(self, otherwise: float) -> float:
        """When memory begins: `idle_days` never says more than that."""
        found = self._db.execute("SELECT value FROM standing WHERE name = 'since'").fetchone()
        if found:
            return float(found[0])
        self._db.execute("INSERT INTO standing VALUES ('since', ?)", (otherwise,))
        return otherwise

    def _moved(self, row: Seen) -> str:
        found = ""
        if row.network and row.client:
            for column, key in (("token", row.token), ("session", row.session)):
                if key and self._elsewhere(column, key, row):
                    found = column
        return found

    def _elsewhere(self, column: str, key: str, row: Seen) -> bool:
        """Whether the last use was by another program and in another network: either alone befalls the
        honest, who change networks with one program, and run two programs in one place."""
        of = (column, row.issuer, key)  # two issuers may give the same id to their tokens
        before = self._places.get(of) or self._last_place(column, key, row)
        _bound(self._places)[of] = (row.network, row.client, row.at)
        if before is None or row.at - before[2] > MOVE_WITHIN:
            return False
        return before[0] != row.network and before[1] != row.client

    def _last_place(self, column: str, key: str, row: Seen) -> _Place | None:
        found = self._db.execute(
            # The second condition lets SQLite use the index, which leaves empty keys out.
            f"SELECT network, client, at FROM events WHERE {column} = ? AND {column} <> ''"  # noqa: S608
            " AND at > ? AND issuer = ?"
            " AND network <> '' AND client <> '' ORDER BY at DESC LIMIT 1",
            (key, row.at - MOVE_WITHIN, row.issuer),
        ).fetchone()
        return (found[0], found[1], found[2]) if found else None

    def _flip(self, row: Seen) -> None:
        if not row.tool:
            return
        key = (row.tenant, row.issuer, row.subject, row.server, row.tool)
        if row.reason == "policy_denied":
            _bound(self._refused)[key] = (row.at, row.revision, row.roles)
        elif row.phase == "outcome" and row.decision == "allow" and key in self._refused:
            at, revision, roles = self._refused.pop(key)
            changed = revision != row.revision or roles != row.roles
            row.flipped = int(changed and row.at - at <= FLIP_WITHIN)

    def _habit(self, row: Seen) -> None:
        """Note that the subject is there at this hour; judge it first where the tool is sensitive."""
        who = (row.tenant, row.issuer, row.subject)
        day, hour = int(row.at // DAY), int(row.at % DAY // HOUR)
        if row.sensitivity in SENSITIVE:
            row.unusual_hour = int(self._unusual(who, day, hour))
        known = self._days.get(who)
        hours = known[1] if known and known[0] == day else 0
        if not hours >> hour & 1:
            self._db.execute(
                "INSERT INTO habits VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET hours = hours | ?",
                (*who, day, 1 << hour, 1 << hour),
            )
            _bound(self._days)[who] = (day, hours | 1 << hour)

    def _unusual(self, who: _Who, day: int, hour: int) -> bool:
        """Whether no day before this one has a call within an hour of this time, though enough were seen."""
        around = sum(1 << (hour + step) % 24 for step in (-1, 0, 1))
        days, there = self._db.execute(
            "SELECT COUNT(*), COALESCE(SUM((hours & ?) <> 0), 0) FROM habits"
            " WHERE tenant = ? AND issuer = ? AND subject = ? AND day < ?",
            (around, *who, day),
        ).fetchone()
        return days >= LEARNED_DAYS and there == 0

    def _idle(self, row: Seen) -> float:
        key = (row.tenant, row.issuer, row.subject, row.server, row.tool)
        found = self._db.execute(
            "SELECT last FROM uses WHERE tenant = ? AND issuer = ? AND subject = ? AND server = ?"
            " AND tool = ?",
            key,
        ).fetchone()
        self._db.execute("INSERT OR REPLACE INTO uses VALUES (?, ?, ?, ?, ?, ?)", (*key, row.at))
        last = found[0] if found else self._since or row.at
        return max(0.0, (row.at - last) / DAY)


def _bound(kept: dict[K, V]) -> dict[K, V]:
    """The dictionary, with its older half gone where it is full."""
    if len(kept) >= MOST_REMEMBERED:
        for key in list(kept)[: MOST_REMEMBERED // 2]:
            del kept[key]
    return kept
