"""Who would have met a limit: callers and addresses of the last hour that asked for more than a rate allows.

The log knows tokens only by whom they name, and time by its words: callers count by tenant and subject, and
periods begin with the second, minute, hour or day. So this is an estimate, for somebody who is about to set a
limit; what is refused in the end the limit itself decides.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from airlock.audit import database
from airlock.core.clock import timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from airlock.core.units import Rate

LOOKED_AT = 3600.0
"""Seconds that are looked at."""

_LETTERS = {1: 19, 60: 16, 3600: 13, 86400: 10}
"""Letters of a timestamp that name a period, by its seconds."""

_WHO = {
    "per_token": "tenant || ' ' || subject",
    "per_tenant": "tenant",
    "per_ip": "CASE WHEN json_valid(metadata) THEN json_extract(metadata, '$.source_ip') END",
}
"""What a rate counts by."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """Who would have been refused something. `shared` of the addresses serve several callers, who are
    `behind` them."""

    callers: int
    addresses: int
    shared: int
    behind: int
    of: int
    """Callers, tenants or addresses that asked for anything."""


def hit(path: Path, *, kind: str, rate: Rate, now: float) -> Hit:
    """What a rate of `kind` (`per_token`, ...) would have done in the last hour. Raises `sqlite3.Error`."""
    who, letters = _WHO[kind], _LETTERS[rate.seconds]
    asked = f"""
        SELECT {who} AS who, subject, {_WHO["per_ip"]} AS address, substr(timestamp, 1, {letters}) AS period,
            COALESCE(NULLIF(request_id, ''), id) AS request
        FROM audit_events WHERE timestamp > ? AND {who} IS NOT NULL AND event_type = 'call'
    """  # noqa: S608 - words of this module
    statement = f"""
        WITH asked AS MATERIALIZED ({asked}),
        over AS (SELECT DISTINCT who FROM (
            SELECT who FROM asked GROUP BY who, period HAVING COUNT(DISTINCT request) > ?)),
        met AS (SELECT DISTINCT subject, address FROM asked WHERE who IN (SELECT who FROM over)),
        crowds AS (SELECT address, COUNT(DISTINCT subject) AS n FROM asked
            WHERE address IN (SELECT address FROM met) GROUP BY address HAVING n > 1)
        SELECT (SELECT COUNT(DISTINCT subject) FROM met), (SELECT COUNT(DISTINCT address) FROM met),
            (SELECT COUNT(*) FROM crowds), (SELECT COALESCE(SUM(n), 0) FROM crowds),
            (SELECT COUNT(DISTINCT who) FROM asked)
    """  # noqa: S608 - words of this module
    with closing(database.open_reader(path)) as db:
        row = db.execute(statement, (timestamp(now - LOOKED_AT), rate.count)).fetchone()
    callers, addresses, shared, behind, of = row
    return Hit(callers=callers, addresses=addresses, shared=shared, behind=behind, of=of)
