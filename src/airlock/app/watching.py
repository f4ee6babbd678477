"""The watch over incidents that are resolved: trouble opens them again.

Costs one small query while nothing is watched. Findings of detection rules are not looked at here: an alert
about the same party joins the incident that is watched, which opens it again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from airlock.audit import database
from airlock.core.clock import Clock, timestamp
from airlock.core.errors import Fault
from airlock.incident import watching
from airlock.incident.occasion import Occasion
from airlock.incident.watching import Sight
from airlock.model.health import Service
from airlock.model.incident import SYSTEM_ACTOR, Incident
from airlock.store import incidents
from airlock.store.database import Store

EVERY = 5.0
"""Seconds between two looks."""

MOST = 1000
"""Rows of one look."""

_FAILED = """
SELECT id FROM audit_log WHERE timestamp >= ? AND event_type = 'call' AND action = 'tool_call'
  AND decision = 'error' AND phase != 'intent' AND json_extract(metadata, '$.synthetic') IS NULL
ORDER BY timestamp DESC LIMIT ?
"""


class Logger(Protocol):
    def warning(self, event: str, **fields: object) -> object: ...


class Watching:
    """One loop of the engine. `service` asks the gateway how it stands, and blocks."""

    def __init__(
        self, *, store: Store, audit: Path, service: Callable[[], Service], clock: Clock, log: Logger
    ) -> None:
        self._store = store
        self._audit = audit
        self._service = service
        self._clock = clock
        self._log = log
        self._down = 0
        self.trouble = ""
        """What is wrong, while it is tried again; empty: nothing."""

    async def run(self) -> None:
        """Look until cancelled. What cannot be read is logged once, and tried again."""
        while True:
            try:
                await asyncio.to_thread(self.look)
                self.trouble = ""
            except (Fault, sqlite3.Error) as failed:
                detail = (failed.detail if isinstance(failed, Fault) else "") or str(failed)
                if detail != self.trouble:
                    self._log.warning("watch_failed", detail=detail)
                self.trouble = detail
            await asyncio.sleep(EVERY)

    def look(self) -> None:
        """One look at what is watched. Raises `Fault`, `sqlite3.Error`."""
        now = self._clock.wall()
        over = watching.watched(self._store, now=now)
        if not over:
            self._down = 0
            return
        service = self._service()
        self._down = self._down + 1 if service.state == "DOWN" else 0
        for incident in over:
            self._judge(incident, service, now)

    def _judge(self, incident: Incident, service: Service, now: float) -> None:
        since = max(now - watching.WITHIN, incident.resolved_at or now)
        sight = Sight(failed=failures(self._audit, since=since), down=self._down, reasons=service.reasons)
        reason = watching.trouble(sight)
        if not reason:
            return
        when = Occasion(actor=SYSTEM_ACTOR, now=now)
        incidents.change(self._store, incident.id, lambda fresh: watching.reopened(fresh, reason, when))
        self._log.warning("incident_reopened", incident=incident.id, reason=reason)


def failures(audit: Path, *, since: float) -> tuple[str, ...]:
    """Ids of rows of calls that failed by a fault since then, the newest first. Raises `sqlite3.Error`."""
    if not audit.exists():
        return ()
    with closing(database.open_reader(audit)) as db:
        return tuple(row[0] for row in db.execute(_FAILED, (timestamp(since), MOST)))
