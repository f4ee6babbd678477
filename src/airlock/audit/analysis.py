"""Attempts counted by who, from where and what: from the database, or from a CSV file that was exported.

Both go through the same statement, so both give the same numbers. A row that stands for several refusals
(`metadata.count`) counts as often as it says; rows that decide nothing do not count.
"""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.audit import database
from airlock.audit.export import COLUMNS, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DEFAULT_GROUP = ("subject", "source_ip", "action", "decision")

ALARM = 20
"""Refused attempts of one group that are no accident any more."""

MOST = 1000
"""Groups of an answer, those with most attempts first."""

_SOURCE = "CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.source_ip') END"
_COUNT = "COALESCE(CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.count') END, 1)"

GROUPS = {
    "source_ip": f"NULLIF({_SOURCE}, '')",
    **{
        name: f"NULLIF({name}, '')"
        for name in (
            "subject", "action", "decision", "reason", "severity", "tenant", "resource", "server_id",
            "tool_name", "event_type",
        )
    },
}  # fmt: skip
"""What attempts can be grouped by. A CSV file knows no difference between nothing and an empty text."""

CLASSES = {
    "privilege_escalation": "action = 'privilege_escalation_attempt'",
    "path_traversal": "action = 'path_traversal_attempt'",
    "cross_tenant": "reason LIKE 'cross_tenant_attempt%'",
    "session_hijack": "reason LIKE 'session_hijack_attempt%'",
    "security_violation": "action = 'security_violation'",
    "authentication": "action IN ('token_validate', 'login') AND decision = 'deny'",
    "rate_limit": "action = 'rate_limit_hit'",
}
"""Kinds of attempts."""

COMMON = frozenset({"", "authentication", "rate_limit"})
"""Kinds that also befall people who mean no harm; one refusal of any other is worth a look."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts with the same values. `denied` are those that were refused."""

    values: dict[str, str | None]
    attempts: int
    denied: int
    first: str
    last: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to count. `since` in the form of `timestamp` columns; empty texts do not restrict."""

    group: tuple[str, ...] = DEFAULT_GROUP
    since: str = ""
    decision: str = ""
    kind: str = ""
    """A name of CLASSES."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.group if name not in GROUPS]
        if unknown or not self.group:
            raise ValueError(f"cannot group by {', '.join(unknown) or 'nothing'}: there are {_names(GROUPS)}")
        if self.kind and self.kind not in CLASSES:
            raise ValueError(f"no class is called {self.kind}: there are {_names(CLASSES)}")


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """The groups, most attempts first. `alarming` are those that somebody should look at."""

    attempts: int
    denied: int
    groups: list[Group]
    alarming: list[Group]
    truncated: bool


def of_database(path: Path, asked: Asked, *, alarm: int = ALARM) -> Analysis:
    """Count in an audit database. Raises `sqlite3.Error`."""
    with closing(database.open_reader(path)) as db:
        return _counted(db, asked, alarm)


def of_csv(path: Path, asked: Asked, *, alarm: int = ALARM) -> Analysis:
    """Count in a CSV file of `audit_events`, with or without its header.

    It is laid into a table in a temporary file, so that memory does not grow with it. Raises ValueError
    for a file that is none, OSError.
    """
    with closing(sqlite3.connect("")) as db, path.open(encoding="utf-8", newline="") as file:
        db.execute(TABLE)
        marks = ", ".join("?" * len(COLUMNS))
        db.executemany(f"INSERT INTO audit_events VALUES ({marks})", _rows(path, file))  # noqa: S608
        return _counted(db, asked, alarm)


def _rows(path: Path, lines: Iterator[str]) -> Iterator[Sequence[str]]:
    try:
        for number, row in enumerate(csv.reader(lines, strict=True), start=1):
            if number == 1 and tuple(row) == COLUMNS:
                continue
            if len(row) != len(COLUMNS):
                raise ValueError(f"{path}: row {number} has {len(row)} values instead of {len(COLUMNS)}")
            yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no CSV file: {error}") from error


def _counted(db: sqlite3.Connection, asked: Asked, alarm: int) -> Analysis:
    names = ", ".join(f"{GROUPS[name]} AS g{number}" for number, name in enumerate(asked.group))
    groups = ", ".join(f"g{number}" for number in range(len(asked.group)))
    which = CLASSES.get(asked.kind, "1")
    # Names come from the tables above; what was asked goes in as parameters.
    statement = (
        f"SELECT {names}, SUM({_COUNT}) AS attempts, SUM(IIF(decision = 'deny', {_COUNT}, 0)) AS denied,"  # noqa: S608
        " MIN(timestamp), MAX(timestamp) FROM audit_events WHERE COALESCE(decision, '') <> ''"
        f" AND timestamp >= :since AND (:decision = '' OR decision = :decision) AND {which}"
        f" GROUP BY {groups} ORDER BY attempts DESC, {groups}"
    )
    asked_for = {"since": asked.since, "decision": asked.decision}
    found = [_group(asked.group, row) for row in db.execute(statement, asked_for)]
    least = alarm if asked.kind in COMMON else 1
    alarming = [group for group in found if group.denied >= least]
    return Analysis(
        attempts=sum(group.attempts for group in found),
        denied=sum(group.denied for group in found),
        groups=found[:MOST],
        alarming=alarming[:MOST],
        truncated=len(found) > MOST,
    )


def _group(names: Sequence[str], row: tuple[Any, ...]) -> Group:
    attempts, denied, first, last = cast("tuple[int, int, str, str]", row[len(names) :])
    values = dict(zip(names, row, strict=False))
    return Group(values=values, attempts=int(attempts), denied=int(denied), first=first, last=last)


def _names(table: dict[str, str]) -> str:
    return ", ".join(table)
