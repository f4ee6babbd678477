"""Questions to the audit log that containment asks before it acts by itself. Each reads a bounded part."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from airlock.audit import database
from airlock.core.clock import timestamp

DAY = 24 * 3600.0

MOST_ROWS = 20_000
"""Newest rows of an address that are looked at: enough to know that people are behind it."""

_PEOPLE = """
SELECT COUNT(DISTINCT json_array(l.tenant, json_extract(p.data, '$.issuer'), p.subject))
FROM (SELECT n, subject, data FROM audit_personal WHERE source_ip = ? ORDER BY n DESC LIMIT ?) p
JOIN audit_log l ON l.n = p.n
WHERE p.subject IS NOT NULL AND p.subject <> '' AND l.event_type = 'call' AND l.timestamp >= ?
"""
_VERIFIED = """
SELECT 1 FROM (SELECT n FROM audit_personal WHERE subject = ? ORDER BY n DESC LIMIT ?) p
JOIN audit_log l ON l.n = p.n WHERE l.event_type IN ('call', 'auth', 'redaction') LIMIT 1
"""


def people(path: Path, source_ip: str, now: float) -> int:
    """Principals who called from an address within a day: rows of calls have one only behind a token that
    counted. Raises `sqlite3.Error`."""
    with closing(database.open_reader(path)) as db:
        row = db.execute(_PEOPLE, (source_ip, MOST_ROWS, timestamp(now - DAY))).fetchone()
    return int(row[0])


def verified(path: Path, subject: str) -> bool:
    """Whether a token that counted ever named this subject. Raises `sqlite3.Error`."""
    with closing(database.open_reader(path)) as db:
        return db.execute(_VERIFIED, (subject, MOST_ROWS)).fetchone() is not None
