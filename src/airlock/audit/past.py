"""Calls of a while ago, as the log knows them: the rows that decided, each with what a lease asks about.

What was erased, or was never recorded, is empty.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from airlock.audit import database
from airlock.core.clock import timestamp

if TYPE_CHECKING:
    from pathlib import Path

MOST = 100_000
"""Calls of one reading; of more, the newest."""


class Past(NamedTuple):
    """One call that was let through."""

    id: str
    timestamp: str
    request: str
    tenant: str
    server: str
    tool: str
    digest: str
    sensitivity: str
    result_bytes: int
    redacted: bool
    known: bool
    """Whether its personal part is there."""
    issuer: str
    subject: str
    actor: str
    """JSON list of names; empty: nobody acted for the subject."""
    source_ip: str
    token: str
    session: str


_CALLS = """
SELECT l.id, l.timestamp, l.request_id, COALESCE(l.tenant, ''), COALESCE(l.server_id, ''),
  COALESCE(l.tool_name, ''), COALESCE(l.definition_digest, ''),
  COALESCE(json_extract(l.metadata, '$.sensitivity'), ''),
  COALESCE(json_extract(l.metadata, '$.result_bytes'), 0),
  l.request_id IN (SELECT r.request_id FROM audit_log r WHERE r.timestamp >= :since AND r.timestamp < :until
    AND r.action = 'redact_data'),
  p.n IS NOT NULL, COALESCE(json_extract(p.data, '$.issuer'), ''), COALESCE(p.subject, ''),
  COALESCE(json_extract(p.data, '$.actor'), ''), COALESCE(p.source_ip, ''),
  COALESCE(json_extract(p.data, '$.token_id'), ''), COALESCE(json_extract(p.data, '$.session_digest'), '')
FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.event_type = 'call' AND l.action = 'tool_call'
  AND l.decision IN ('allow', 'error') AND l.phase != 'intent'
ORDER BY l.timestamp DESC LIMIT :most
"""


class Asked(NamedTuple):
    """One call that policy was asked about, whatever it said."""

    id: str
    timestamp: str
    request: str
    phase: str
    tenant: str
    server: str
    tool: str
    issuer: str
    subject: str
    session: str
    revision: str
    """Of the policy that was asked."""
    inputs: str
    """What is kept of the question, encrypted, base64; empty: nothing, or it was erased."""


_ASKED = """
SELECT l.id, l.timestamp, l.request_id, l.phase, COALESCE(l.tenant, ''), COALESCE(l.server_id, ''),
  COALESCE(l.tool_name, ''), COALESCE(json_extract(p.data, '$.issuer'), ''), COALESCE(p.subject, ''),
  COALESCE(json_extract(p.data, '$.session_digest'), ''), COALESCE(l.policy_revision, ''),
  COALESCE(json_extract(p.data, '$.inputs'), '')
FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n
WHERE l.timestamp >= :since AND l.timestamp < :until AND l.event_type = 'call' AND l.tool_name IS NOT NULL
  AND ((l.action = 'tool_call' AND (l.decision = 'allow' OR l.phase = 'intent'))
    OR json_extract(l.metadata, '$.stage') = 'authorize')
ORDER BY l.timestamp DESC LIMIT :most
"""

_HITS = """
SELECT COUNT(*) FROM audit_log WHERE timestamp >= ? AND decision = 'deny'
  AND json_extract(metadata, '$.lease_id') = ?
"""


def calls(path: Path, *, since: float, until: float, most: int = MOST) -> tuple[list[Past], bool]:
    """The calls of a time, the oldest first, and whether there were more than `most`, of which the newest
    are given. Raises `sqlite3.Error`."""
    asked = {"since": timestamp(since), "until": timestamp(until), "most": most + 1}
    with closing(database.open_reader(path)) as db:
        rows = db.execute(_CALLS, asked).fetchall()
    found = [Past(*row) for row in rows[:most]]
    found.reverse()
    return found, len(rows) > most


def asked(path: Path, *, since: float, until: float, most: int = MOST) -> tuple[list[Asked], bool]:
    """The calls of a time that policy was asked about, each once, the oldest first, and whether there were
    more than `most` rows of such, of which the newest are given. Raises `sqlite3.Error`."""
    wanted = {"since": timestamp(since), "until": timestamp(until), "most": most + 1}
    with closing(database.open_reader(path)) as db:
        rows = [Asked(*row) for row in db.execute(_ASKED, wanted)]
    found = {row.request: row for row in sorted(rows[:most], key=lambda row: row.phase == "intent")}
    return sorted(found.values(), key=lambda row: (row.timestamp, row.id)), len(rows) > most


def hits(path: Path, *, lease: str, since: float) -> int:
    """How many calls this lease refused. Raises `sqlite3.Error`."""
    with closing(database.open_reader(path)) as db:
        return db.execute(_HITS, (timestamp(since), lease)).fetchone()[0]
