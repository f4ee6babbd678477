"""What the database knows of a chain when a process takes it over. Reads `audit.db`, writes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from airlock.audit.occurrences import Whole
from airlock.audit.survey import Watermark
from airlock.core.errors import AuditFault

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = "SELECT head_seq, head_hash FROM audit_chains WHERE chain_uid = ?"
_TENANTS = (
    "SELECT tenant, MAX(tenant_seq) FROM audit_log WHERE chain_uid = ? AND tenant IS NOT NULL GROUP BY tenant"
)
_LAST_START = """
SELECT seq FROM audit_log WHERE chain_uid = ? AND action = 'process_start' ORDER BY seq DESC LIMIT 1"""
_OPEN_INTENTS = """
SELECT i.entry, p.salt, p.subject, p.source_ip, p.data
FROM audit_log i LEFT JOIN audit_personal p ON p.n = i.n
WHERE i.chain_uid = ? AND i.seq > ? AND i.phase = 'intent' AND i.entry IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM audit_log o WHERE o.correlation_id = i.correlation_id AND o.phase = 'outcome'
  AND o.action = i.action)
ORDER BY i.seq"""


def watermark(database: Path, chain_uid: str) -> Watermark | None:
    """None if there is no database, or it has never heard of the chain. AuditFault if it cannot be read."""
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            head = db.execute(_HEAD, (chain_uid,)).fetchone()
            if head is None:
                return None
            (start,) = db.execute(_LAST_START, (chain_uid,)).fetchone() or (0,)
            return Watermark(
                seq=head[0],
                hash=head[1],
                tenants=dict(db.execute(_TENANTS, (chain_uid,)).fetchall()),
                open_intents=tuple(
                    Whole(entry=entry, personal=_record(*personal))
                    for entry, *personal in db.execute(_OPEN_INTENTS, (chain_uid, start))
                ),
            )
    except sqlite3.Error as error:
        raise AuditFault(f"{database} cannot be read: {error}") from error


def _record(salt: bytes | None, subject: str | None, source_ip: str | None, data: str | None) -> bytes:
    """The personal record as the journal had it; empty where it was erased."""
    if salt is None:
        return b""
    values = msgspec.json.decode(data, type=dict[str, str]) if data else {}
    values |= {name: value for name, value in (("subject", subject), ("source_ip", source_ip)) if value}
    return msgspec.json.encode({"salt": salt.hex(), "values": values})
