"""Rows of the log for other programs: CSV, lines of JSON, or a SQLite file with a table to ask.

What is recorded while an export runs is not in it. Rows are read in pages, each by a short transaction, and
written as they come: memory does not grow with the log.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from airlock.audit import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

COLUMNS = (
    "id", "timestamp", "correlation_id", "tenant", "subject", "action", "resource", "decision", "reason",
    "severity", "latency_ms", "redaction_count", "metadata", "hash", "previous_hash", "chain_uid", "seq",
    "event_type", "phase", "server_id", "tool_name", "definition_digest", "policy_revision", "request_id",
    "occurred_at",
)  # fmt: skip
"""Columns of `audit_events`, in the order of the view."""

TABLE = f"CREATE TABLE audit_events ({', '.join(f'{name} TEXT' for name in COLUMNS)})"
"""Every column may be anything: whatever somebody imports beside the rows is taken and decides nothing."""

PAGE = 2000
"""Rows of one transaction."""

_CHAIN, _SEQ = COLUMNS.index("chain_uid"), COLUMNS.index("seq")

_SELECT = (
    f"SELECT l.n, {', '.join(f'e.{name}' for name in COLUMNS)}"  # noqa: S608
    " FROM audit_log l JOIN audit_events e ON e.id = l.id WHERE l.n > :after AND l.n <= :last"
    " AND l.timestamp >= :since AND (:decision = '' OR l.decision = :decision)"
    " AND (:tenant = '' OR l.tenant = :tenant) AND (:subject = '' OR e.subject = :subject)"
    " ORDER BY l.n LIMIT :page"
)

Row = tuple[Any, ...]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows. `since` in the form of `timestamp` columns; empty texts do not restrict."""

    since: str = ""
    decision: str = ""
    tenant: str = ""
    subject: str = ""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written. `chains`: first and last number of the rows of each chain."""

    rows: int
    chains: dict[str, tuple[int, int]]
    sha256: str


def to_csv(path: Path, out: BinaryIO, which: Filter) -> Exported:
    """RFC 4180 with a header. Raises `sqlite3.Error`, OSError."""
    line = io.StringIO()
    writer = csv.writer(line)

    def written(values: Row) -> bytes:
        line.seek(line.truncate(0))
        writer.writerow(values)
        return line.getvalue().encode()

    return _stream(path, out, which, written(COLUMNS), written)


def to_jsonl(path: Path, out: BinaryIO, which: Filter) -> Exported:
    """One JSON object a line; `metadata` is an object in it."""
    encode = msgspec.json.Encoder().encode

    def written(values: Row) -> bytes:
        told = dict(zip(COLUMNS, values, strict=True))
        if told["metadata"] is not None:
            told["metadata"] = msgspec.Raw(told["metadata"].encode())
        return encode(told) + b"\n"

    return _stream(path, out, which, b"", written)


def to_sqlite(path: Path, out: Path, which: Filter) -> Exported:
    """A database with one table `audit_events`, for questions and for imports beside it.

    Raises FileExistsError where the file is there already.
    """
    os.close(os.open(out, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    tally = _Tally()
    marks = ", ".join("?" * len(COLUMNS))
    with closing(database.open_reader(path)) as db, closing(sqlite3.connect(out)) as target, target:
        target.execute(TABLE)
        target.executemany(
            f"INSERT INTO audit_events VALUES ({marks})",  # noqa: S608
            tally.counting(_rows(db, which)),
        )
    with out.open("rb") as written:
        return tally.exported(hashlib.file_digest(written, "sha256").hexdigest())


def _stream(
    path: Path, out: BinaryIO, which: Filter, head: bytes, written: Callable[[Row], bytes]
) -> Exported:
    tally, digest = _Tally(), hashlib.sha256(head)
    out.write(head)
    with closing(database.open_reader(path)) as db:
        for row in tally.counting(_rows(db, which)):
            data = written(row)
            digest.update(data)
            out.write(data)
    out.flush()
    return tally.exported(digest.hexdigest())


def _rows(db: sqlite3.Connection, which: Filter) -> Iterator[Row]:
    """Every row up to the newest of this moment, in the order in which they came in."""
    last = db.execute("SELECT MAX(n) FROM audit_log").fetchone()[0]
    first = db.execute("SELECT MIN(+n) FROM audit_log WHERE timestamp >= ?", (which.since,)).fetchone()[0]
    if first is None:
        return
    asked = {**msgspec.structs.asdict(which), "after": first - 1, "last": last, "page": PAGE}
    while True:
        page = db.execute(_SELECT, asked).fetchall()
        for row in page:
            yield row[1:]
        if len(page) < PAGE:
            return
        asked["after"] = page[-1][0]


class _Tally:
    """Counts rows on their way."""

    def __init__(self) -> None:
        self._rows = 0
        self._chains: dict[str, tuple[int, int]] = {}

    def counting(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            chain, seq = row[_CHAIN], row[_SEQ]
            first, last = self._chains.get(chain, (seq, seq))
            self._chains[chain] = (min(first, seq), max(last, seq))
            self._rows += 1
            yield row

    def exported(self, sha256: str) -> Exported:
        return Exported(rows=self._rows, chains=self._chains, sha256=sha256)
