"""What is missing from the log: holes, calls without an end, silence, records that never arrived.

Every check answers with findings, each a gap or "cannot tell"; the latter never counts as "no gap".
The SQL reads tables, not views: views are for operators and may have been altered.
Verification asks whether what is there is genuine; this asks whether all of it is there.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import msgspec

from airlock.core.clock import timestamp

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

DANGLING_AFTER = 330.0
"""Seconds after which a call without outcome is dangling: the longest call (300 s) and 30 s."""

CLOCK_STEP_S = 5
SILENCE_S = 3600


class Exit(IntEnum):
    """Exit codes of a gap check."""

    NONE = 0
    GAPS = 1
    NOT_RUN = 2
    CANNOT_TELL = 3


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is missing, or of which nobody can say whether it is."""

    check: str
    result: Literal["gap", "cannot tell"] = "gap"
    chain_uid: str = ""
    range: str = ""
    first_seen: str = ""
    cause: str
    next: str


class LiveChain(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal says of a chain. `held`: a process writes it; None: that cannot be told."""

    held: bool | None
    durable: int
    spool: int = 0
    """Records in the spool."""
    damage: str = ""


def exit_code(found: list[Gap]) -> Exit:
    """One gap outweighs any number of unknowns."""
    if any(gap.result == "gap" for gap in found):
        return Exit.GAPS
    return Exit.CANNOT_TELL if found else Exit.NONE


def find(
    db: sqlite3.Connection,
    *,
    since: str,
    now: float,
    journal: Mapping[str, LiveChain] | None,
    dangling_after: float = DANGLING_AFTER,
) -> list[Gap]:
    """Every check over the rows recorded since a moment. `journal` is None where it cannot be read."""
    return [
        *_seq_holes(db, since),
        *_tenant_holes(db, since),
        *_dangling(db, since, timestamp(now - dangling_after)),
        *_clock_steps(db, since),
        *_silence(db, since),
        *_journal(db, journal),
    ]


def _seq_holes(db: sqlite3.Connection, since: str) -> Iterator[Gap]:
    rows = db.execute(
        "SELECT chain_uid, last + 1, seq - 1, timestamp FROM (SELECT chain_uid, seq, timestamp,"
        " LAG(seq, 1, 0) OVER (PARTITION BY chain_uid ORDER BY seq) AS last FROM audit_log)"
        " WHERE seq > last + 1 AND timestamp >= ? UNION ALL"
        " SELECT chain_uid, last + 1, head_seq, NULL FROM (SELECT chain_uid, head_seq, COALESCE("
        "(SELECT MAX(seq) FROM audit_log l WHERE l.chain_uid = c.chain_uid), 0) AS last FROM audit_chains c)"
        " WHERE head_seq > last",
        (since,),
    )
    for chain_uid, first, last, seen in rows:
        yield Gap(
            check="seq",
            chain_uid=chain_uid,
            range=f"seq {first} to {last}",
            first_seen=seen or "",
            cause="records were deleted from the database, or the database was rebuilt from a journal "
            "that no longer held them",
            next="airlock audit verify",
        )


_TENANT_HOLES = """
SELECT chain_uid, tenant, counted + 1, tenant_seq - 1, timestamp,
  (SELECT COUNT(*) FROM audit_log s WHERE s.chain_uid = t.chain_uid
    AND s.seq > t.last AND s.seq < t.seq AND s.entry IS NULL)
FROM (SELECT chain_uid, tenant, tenant_seq, seq, timestamp,
  LAG(tenant_seq, 1, 0) OVER w AS counted, LAG(seq, 1, 0) OVER w AS last
  FROM audit_log WHERE tenant IS NOT NULL WINDOW w AS (PARTITION BY chain_uid, tenant ORDER BY seq)) t
WHERE tenant_seq > counted + 1 AND timestamp >= ?
"""


def _tenant_holes(db: sqlite3.Connection, since: str) -> Iterator[Gap]:
    rows = db.execute(_TENANT_HOLES, (since,))
    for chain_uid, tenant, first, last, seen, pruned in rows:
        lawful = pruned >= last - first + 1
        yield Gap(
            check="tenant_seq",
            result="cannot tell" if lawful else "gap",
            chain_uid=chain_uid,
            range=f"tenant {tenant}: {first} to {last}",
            first_seen=seen,
            cause="the rows between were pruned to skeletons, which name no tenant"
            if lawful
            else "records of this tenant are missing",
            next="airlock audit verify",
        )


def _dangling(db: sqlite3.Connection, since: str, before: str) -> Iterator[Gap]:
    rows = db.execute(
        "SELECT i.chain_uid, i.seq, i.timestamp, i.correlation_id FROM audit_log i"
        " WHERE i.timestamp >= ? AND i.timestamp < ? AND i.phase = 'intent' AND NOT EXISTS"
        " (SELECT 1 FROM audit_log o WHERE o.correlation_id = i.correlation_id AND o.phase = 'outcome'"
        "  AND o.action = i.action) ORDER BY i.timestamp",
        (since, before),
    )
    for chain_uid, seq, seen, correlation_id in rows:
        yield Gap(
            check="dangling",
            chain_uid=chain_uid,
            range=f"seq {seq}",
            first_seen=seen,
            cause=f"call {correlation_id} was sent and has no outcome: the process ended in between, "
            "its effect is possible",
            next="airlock audit query --name recent, look for the correlation id",
        )


_CLOCK_STEPS = """
SELECT chain_uid, seq, timestamp, 'the clock was set, as the process itself recorded' FROM audit_log
WHERE action = 'clock_step' AND timestamp >= :since
UNION ALL
SELECT chain_uid, seq, timestamp, 'time goes back to ' || timestamp || ' after ' || last FROM
  (SELECT chain_uid, seq, timestamp, LAG(timestamp) OVER (PARTITION BY chain_uid ORDER BY seq) AS last
  FROM audit_log)
WHERE timestamp >= :since AND timestamp < last AND (julianday(last) - julianday(timestamp)) * 86400 > :step
"""


def _clock_steps(db: sqlite3.Connection, since: str) -> Iterator[Gap]:
    rows = db.execute(_CLOCK_STEPS, {"since": since, "step": CLOCK_STEP_S})
    for chain_uid, seq, seen, cause in rows:
        yield Gap(
            check="clock",
            chain_uid=chain_uid,
            range=f"seq {seq}",
            first_seen=seen,
            cause=f"{cause}: order by seq, not by time",
            next="check the time service of this host",
        )


def _silence(db: sqlite3.Connection, since: str) -> Iterator[Gap]:
    """An hour without a record while the process ran: a gap where heartbeats were due, else unknown."""
    rows = db.execute(
        "SELECT chain_uid, last, seq, from_time, timestamp, EXISTS (SELECT 1 FROM audit_log h"
        " WHERE h.chain_uid = t.chain_uid AND h.action = 'heartbeat') FROM"
        " (SELECT chain_uid, seq, timestamp, LAG(seq) OVER w AS last, LAG(timestamp) OVER w AS from_time,"
        " LAG(action) OVER w AS farewell FROM audit_log WINDOW w AS (PARTITION BY chain_uid ORDER BY seq)) t"
        " WHERE timestamp >= ? AND (julianday(timestamp) - julianday(from_time)) * 86400 > ?"
        " AND COALESCE(farewell, '') NOT IN ('process_stop', 'chain_close')",
        (since, SILENCE_S),
    )
    for chain_uid, last, seq, from_time, until, heartbeats in rows:
        yield Gap(
            check="silence",
            result="gap" if heartbeats else "cannot tell",
            chain_uid=chain_uid,
            range=f"seq {last} to {seq}, {from_time} to {until}",
            first_seen=from_time,
            cause="no heartbeat was recorded, though one was due every 30 s"
            if heartbeats
            else "nothing was recorded: no requests came, or the process was down; nothing counts them apart",
            next="compare with the access log of the proxy in front",
        )


_CHAINS = """
SELECT c.chain_uid, c.head_seq, EXISTS (SELECT 1 FROM audit_chains s WHERE json_valid(s.predecessor)
    AND json_extract(s.predecessor, '$.chain_uid') = c.chain_uid),
  (SELECT l.timestamp FROM audit_log l WHERE l.chain_uid = c.chain_uid ORDER BY l.seq DESC LIMIT 1),
  (SELECT l.action FROM audit_log l WHERE l.chain_uid = c.chain_uid ORDER BY l.seq DESC LIMIT 1)
FROM audit_chains c
"""


def _journal(db: sqlite3.Connection, journal: Mapping[str, LiveChain] | None) -> Iterator[Gap]:
    if journal is None:
        yield Gap(
            check="journal",
            result="cannot tell",
            cause="only the database was given: what the journal and the spool still hold is unknown",
            next="airlock audit gaps --data-dir DIR",
        )
        return
    heads = db.execute(_CHAINS)
    known: dict[str, tuple[int, int, str, str | None]] = {row[0]: row[1:] for row in heads}
    for chain_uid, live in journal.items():
        yield from _behind(chain_uid, live, known[chain_uid][0] if chain_uid in known else 0)
    for chain_uid, (_, continued, seen, farewell) in known.items():
        if not continued and farewell not in ("chain_close", "process_stop"):
            yield from _abandoned(chain_uid, journal.get(chain_uid), seen)


def _behind(chain_uid: str, live: LiveChain, head: int) -> Iterator[Gap]:
    if live.damage:
        yield Gap(
            check="journal",
            chain_uid=chain_uid,
            cause=f"the journal is damaged: {live.damage}",
            next="airlock audit verify",
        )
    if live.durable > head:
        yield Gap(
            check="lag",
            chain_uid=chain_uid,
            range=f"seq {head + 1} to {live.durable}",
            cause="durable records are not in the database: the projector is behind, stopped or refused them",
            next="look at the projector's log lines",
        )
    if live.spool:
        yield Gap(
            check="spool",
            chain_uid=chain_uid,
            cause=f"{live.spool} outcomes wait in the spool: the journal could not take them",
            next="let the journal be written again: its worker, or the next to start, logs them late",
        )


def _abandoned(chain_uid: str, live: LiveChain | None, seen: str) -> Iterator[Gap]:
    if live is not None and live.held:
        return
    if live is not None and live.held is None:
        yield Gap(
            check="open chain",
            result="cannot tell",
            chain_uid=chain_uid,
            first_seen=seen,
            cause="whether a process still writes this chain cannot be told on this system",
            next="airlock status",
        )
        return
    yield Gap(
        check="open chain",
        chain_uid=chain_uid,
        first_seen=seen,
        cause="no process writes this chain and it was not closed: its process was killed or lost its host"
        if live is not None
        else "the chain was not closed and its journal is gone: records may have been lost with it",
        next="start the gateway: recovery closes or resumes the chain",
    )
