"""Figures of a document: each from a stored answer, and each with where it came from.

A figure without an answer reads `not yet known`. What the log says and what people say stand apart.
"""

from __future__ import annotations

from collections.abc import Callable

from airlock.incident.questions import INTEGRITY, Answered
from airlock.incident.render.record import Record
from airlock.incident.render.words import UNKNOWN, Safe, plain

LISTED = 10
"""Names of an answer that one line holds."""

CITED = ("calls", "affected_users", "affected_tools", "redactions", "individuals", "denials", INTEGRITY)
"""Answers that documents use, in the order in which they cite them."""


def figures(record: Record) -> dict[str, object]:
    """Every figure that a template may use."""
    return {
        "users": users(record),
        "data_types": _names(record, "redactions", "data_type"),
        "data_involved": data_involved(record),
        "records": _total(record, "redactions", "found", " values taken out of calls"),
        "individuals": _one(record, "individuals", "users", "users in whose calls such data was found"),
        "customers": _one(record, "individuals", "tenants", "tenants in whose calls such data was found"),
        "systems": systems(record),
        "attempts": _total(record, "denials", "attempts", ""),
        "integrity": integrity(record),
        "citations": citations(record),
        "figure": _reader(record),
    }


def users(record: Record) -> Safe:
    """Who is affected: what people wrote, then what the log counts."""
    said = plain(record.incident.affected_users)
    found = record.answers.get("affected_users")
    if found is None or not found.known:
        return Safe(said or UNKNOWN)
    names = found.column("subject")
    counted = f"{'at least ' if found.problem else ''}{len(found.rows)} by the log"
    if names:
        more = ", ..." if len(names) > LISTED else ""
        counted += f" ({', '.join(plain(name) for name in names[:LISTED])}{more})"
    tenants = found.column("tenant")
    if tenants:
        counted += f" in {len(tenants)} {'tenant' if len(tenants) == 1 else 'tenants'}"
    return Safe(f"{said}; {counted}" if said else counted)


def data_involved(record: Record) -> list[Safe]:
    """One line for each kind of data that redaction found in the window."""
    found = record.answers.get("redactions")
    if found is None or not found.known:
        return []
    kinds = zip(found.column("data_type"), found.rows, strict=False)
    told = [f"{plain(kind)}: {row[1]} taken out in {row[2]} calls of {row[3]} users" for kind, row in kinds]
    return [Safe(f"Data types: {line}") for line in told] or [
        Safe("Data types: redaction took nothing out; what it does not know it cannot count")
    ]


def systems(record: Record) -> Safe:
    """Which systems are concerned: what people wrote, else the servers that the log names."""
    if record.incident.affected_services:
        return Safe(", ".join(plain(each) for each in record.incident.affected_services))
    found = record.answers.get("affected_tools")
    servers = found.column("server") if found is not None and found.known else ()
    return Safe(", ".join(("MCP Airlock", *(plain(each) for each in servers))))


def integrity(record: Record) -> Safe:
    """What verification of the log says; never what somebody wrote."""
    found = record.answers.get(INTEGRITY)
    if found is None or not found.rows:
        return Safe(UNKNOWN if found is None or not found.problem else f"not known: {plain(found.problem)}")
    result, rows, _, where, what = found.rows[0]
    if result == "failed":
        return Safe(f"failed at {plain(where)}: {plain(what)}")
    scope = "from its start" if found.rows[0][2] else f"since {found.since[:16]} UTC"
    if result == "intact":
        return Safe(f"intact: no contradiction in {rows} rows {scope}")
    return Safe(f"not proven: {plain(what)}")


def citations(record: Record) -> list[Safe]:
    """Where the figures come from: query, digest of its result, window, basis."""
    answers = [record.answers[name] for name in CITED if name in record.answers]
    return [Safe(_citation(each)) for each in answers]


def _citation(found: Answered) -> str:
    if not found.known:
        return f"{found.query}: no answer, {plain(found.problem) or UNKNOWN}"
    whole = f"; {plain(found.problem)}" if found.problem else ""
    return f"{found.citation}, {found.since[:19]} to {found.until[:19]} UTC: {plain(found.title)}{whole}"


def _names(record: Record, name: str, column: str) -> Safe:
    found = record.answers.get(name)
    if found is None or not found.known:
        return Safe(UNKNOWN)
    return Safe(", ".join(plain(each) for each in found.column(column)[:LISTED]) or "none found")


def _total(record: Record, name: str, column: str, what: str) -> Safe:
    found = record.answers.get(name)
    total = found.total(column) if found is not None else None
    return Safe(UNKNOWN if total is None or found is None else f"{total}{what} ({found.citation})")


def _one(record: Record, name: str, column: str, what: str) -> Safe:
    found = record.answers.get(name)
    number = found.number(column) if found is not None else None
    return Safe(UNKNOWN if number is None or found is None else f"{number}, {what} ({found.citation})")


def _reader(record: Record) -> Callable[[str, str], Safe]:
    def figure(name: str, column: str) -> Safe:
        """The number of an answer with one row."""
        found = record.answers.get(name)
        number = found.number(column) if found is not None else None
        return Safe(UNKNOWN if number is None else str(number))

    return figure
