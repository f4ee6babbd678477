"""Whether the log can be believed, as answers that a document can cite: what verification and the search for
gaps found, in the form of the stored questions."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from airlock.audit import database, gaps
from airlock.audit.inspection import Inspection, Report
from airlock.audit.standing import standing
from airlock.audit.verify import Exit
from airlock.core.clock import timestamp
from airlock.incident.questions import GAPS, INTEGRITY, Answered, answered

WHOLE = 200_000
"""Rows of a log that is verified from its beginning; of a larger one only the window is."""


def integrity(audit: Path, *, journals: Path | None, since: float, until: float) -> Answered:
    """Verify the log: from its beginning where it is small, else from `since` on (Unix seconds).

    One row: the result (`intact`, `failed` or `not proven`), rows checked, and the first thing found. Where
    the log cannot be read the answer says so.
    """
    empty = Answered(
        query=INTEGRITY,
        title="Whether the audit log is genuine, by `airlock audit verify`",
        since=timestamp(since),
        until=timestamp(until),
    )
    try:
        begin = None if _rows(audit) <= WHOLE else timestamp(since)
        report = Inspection(audit, journals=journals, since=begin, progress=lambda _: None).run()
    except (sqlite3.Error, OSError) as error:
        return msgspec.structs.replace(empty, problem=str(error))
    columns = ("result", "rows", "from_start", "first", "finding")
    return answered(empty, columns, [_judged(report, begin)], sql="airlock audit verify")


def missing(audit: Path, *, journals: Path | None, since: float, until: float) -> Answered:
    """What is missing from the log since a moment (Unix seconds): one row for each hole or doubt."""
    empty = Answered(
        query=GAPS,
        title="What is missing from the audit log, by `airlock audit gaps`",
        since=timestamp(since),
        until=timestamp(until),
    )
    try:
        live = None if journals is None else standing(journals)
        with closing(database.open_reader(audit)) as db:
            found = gaps.find(db, since=timestamp(since), now=until, journal=live)
    except (sqlite3.Error, OSError) as error:
        return msgspec.structs.replace(empty, problem=str(error))
    rows = [(gap.check, gap.result, gap.chain_uid, gap.range, gap.first_seen, gap.cause) for gap in found]
    columns = ("check", "result", "chain", "range", "first_seen", "cause")
    return answered(empty, columns, rows, sql="airlock audit gaps")


def _rows(audit: Path) -> int:
    with closing(database.open_reader(audit)) as db:
        counted: int = db.execute("SELECT COALESCE(MAX(n), 0) FROM audit_log").fetchone()[0]
    return counted


def _judged(report: Report, begin: str | None) -> tuple[object, ...]:
    words = {Exit.PROVEN: "intact", Exit.TAMPERED: "failed", Exit.UNPROVEN: "not proven"}
    first = report.findings[0] if report.findings else None
    where = f"seq {first.seq} of chain {first.chain_uid}" if first is not None else ""
    what = first.what if first is not None else "; ".join(report.unproven)
    return (words[report.exit], report.rows, begin is None, where, what)
