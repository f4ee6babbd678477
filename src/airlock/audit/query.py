"""Questions to `audit.db`: one SELECT, on a connection that cannot write, bounded in rows, size and time.

SQLite's authoriser sees every statement as it is compiled: only reading passes. So a question may come
from somebody who may look at the log but must not change it.
"""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, cast

import msgspec

from airlock.audit import database
from airlock.audit.visible import visible
from airlock.core.clock import timestamp
from airlock.core.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airlock.core.clock import Clock

LIMIT = 10_000
"""Rows of an answer, unless asked for fewer or more."""

TIMEOUT = 30.0
"""Seconds that a question may run."""

_LONGEST_VALUE = 16 * 1024 * 1024
"""Bytes of one value: what grows beyond (`replace`, `group_concat`) fails instead of filling memory."""

_MOST_COLUMNS = 100
"""Columns of an answer: SQLite holds all values of a row before anybody can count them."""

_LARGEST_ANSWER = 64 * 1024 * 1024
"""Length of all texts and bytes of an answer, with `_ROW` and `_VALUE` added for what holds them."""

_ROW, _VALUE = 64, 8

_STEPS = 10_000
"""Steps of SQLite's machine between two looks at the clock: well under a millisecond."""

_READING = (
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
)

_DENIED = frozenset({"fts3_tokenizer", "load_extension", "randomblob", "zeroblob"})
"""Functions that reach out of SQL (addresses in memory, libraries) or only make bulk."""


class QueryRefused(ValueError):
    """The question is no single SELECT, is wrong, or takes too long or too much."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A question with a name. `since` is its default look back, as a duration."""

    title: str
    sql: str
    since: str


PREPARED: Mapping[str, Prepared] = {
    "recent": Prepared(
        title="Everything recorded since a moment, newest first",
        sql="SELECT timestamp, subject, action, resource, decision, reason, severity, correlation_id, id"
        " FROM audit_events WHERE timestamp >= :since ORDER BY timestamp DESC, chain_uid, seq DESC",
        since="2h",
    ),
    "denials": Prepared(
        title="Refused attempts by subject, source address and action; folded rows count in full",
        sql="SELECT SUM(COALESCE(json_extract(metadata, '$.count'), 1)) AS attempts, subject,"
        " json_extract(metadata, '$.source_ip') AS source_ip, action, decision FROM audit_events"
        " WHERE decision = 'deny' AND timestamp >= :since GROUP BY 2, 3, 4 ORDER BY attempts DESC, 2, 3, 4",
        since="2h",
    ),
    "redactions": Prepared(
        title="Redaction events and how many values they removed",
        sql="SELECT COUNT(*) AS redaction_events, COALESCE(SUM(redaction_count), 0) AS total_redactions"
        " FROM audit_events WHERE action = 'redact_data' AND timestamp >= :since",
        since="24h",
    ),
    "would-deny": Prepared(
        title="Calls that were let through while observing, by what would have refused them",
        sql="SELECT COUNT(*) AS calls, json_extract(metadata, '$.would_deny') AS would_deny, subject,"
        " resource FROM audit_events WHERE decision IN ('allow', 'error') AND phase = 'outcome'"
        " AND json_extract(metadata, '$.would_deny') IS NOT NULL AND timestamp >= :since"
        " GROUP BY 2, 3, 4 ORDER BY calls DESC, 2, 3, 4",
        since="7d",
    ),
    "broken-chains": Prepared(
        title="Rows whose predecessor is missing; 0 proves little, `airlock audit verify` more",
        sql="SELECT COUNT(*) AS broken_chains FROM audit_events a1 LEFT JOIN audit_events a2"
        " ON a1.previous_hash = a2.hash WHERE a1.previous_hash IS NOT NULL AND a2.hash IS NULL",
        since="",
    ),
    "hours": Prepared(
        title="Events per hour over seven days, empty hours included",
        sql="SELECT hour, events FROM audit_events_hourly",
        since="",
    ),
}
"""Questions that operators ask at night, by name."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of an answer; `truncated`: there were more."""

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]
    truncated: bool


def moment(text: str, clock: Clock) -> str:
    """`2h` (that long ago) or `YYYY-MM-DD[ HH:MM[:SS[.ffffff]]]`, in the form of `timestamp` columns."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?Z?", text, re.ASCII):
        return text.replace("T", " ").rstrip("Z")
    return timestamp(clock.wall() - duration(text))


SELECTION = (
    "SELECT * FROM audit_events WHERE timestamp >= COALESCE(:since, '')"
    " AND (:severity IS NULL OR severity = :severity) AND (:decision IS NULL OR decision = :decision)"
    " ORDER BY timestamp DESC, chain_uid, seq DESC"
)
"""Rows by plain criteria, newest first; a parameter that is NULL does not restrict."""


def run(
    path: Path,
    sql: str,
    parameters: Mapping[str, str | None],
    *,
    clock: Clock,
    limit: int = LIMIT,
    timeout: float = TIMEOUT,
) -> Answer:
    """Answer one SELECT; raises `QueryRefused`, or `sqlite3.OperationalError` where there is no database."""
    with closing(database.open_reader(path)) as db:
        deadline = clock.monotonic() + timeout
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        db.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, _MOST_COLUMNS)
        db.set_progress_handler(lambda: clock.monotonic() > deadline, _STEPS)
        db.execute("SELECT 1 FROM json_each('[]')")  # made known while that is allowed: it only reads
        db.set_authorizer(_authorise)
        try:
            cursor = db.execute(sql, dict(parameters))
            rows = _fetched(cursor, limit + 1)
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise QueryRefused(f"the question ran longer than {timeout:g} s") from error
            raise QueryRefused(str(error)) from error
        except MemoryError as error:
            raise QueryRefused("the question takes more memory than there is") from error
        except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError, ValueError) as error:
            raise QueryRefused(str(error)) from error
        described = cast("tuple[tuple[str, ...], ...] | None", cursor.description)
        if described is None:
            raise QueryRefused("there is no question in it")
        names = tuple(column[0] for column in described)
    return Answer(columns=names, rows=rows[:limit], truncated=len(rows) > limit)


def _fetched(cursor: sqlite3.Cursor, most: int) -> list[tuple[object, ...]]:
    """The first rows; raises `QueryRefused` once they are larger than an answer may be."""
    rows: list[tuple[object, ...]] = []
    room = _LARGEST_ANSWER
    for row in cast("Iterator[tuple[object, ...]]", islice(cursor, most)):
        room -= _ROW + sum(len(value) if isinstance(value, (str, bytes)) else _VALUE for value in row)
        if room < 0:
            raise QueryRefused(f"the answer is larger than {_LARGEST_ANSWER >> 20} MiB: ask for less of it")
        rows.append(row)
    return rows


def _authorise(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    denied = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _DENIED
    allowed = action in _READING and not denied
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def as_csv(answer: Answer, *, exact: bool) -> str:
    """RFC 4180 with a header. `exact`: values as stored; else with escapes, for a terminal."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(answer.columns)
    for row in answer.rows:
        writer.writerow([_plain(value) if exact else visible(value) for value in row])
    return out.getvalue()


def as_json(answer: Answer) -> dict[str, object]:
    """The answer as plain values; bytes as hex."""
    rows = [dict(zip(answer.columns, map(_json, row), strict=True)) for row in answer.rows]
    return {"columns": list(answer.columns), "rows": rows, "truncated": answer.truncated}


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _json(value: object) -> object:
    # Numbers beyond JSON's (inf, nan) come from SQL arithmetic only.
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return _plain(value)
