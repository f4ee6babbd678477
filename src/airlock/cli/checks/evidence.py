"""What the log says of calls that a check made: read where it lies, on the host of the gateway."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from airlock.audit.catchup import catch_up
from airlock.audit.inspection import Inspection, Report
from airlock.audit.query import moment, run
from airlock.cli.checks.answers import Row
from airlock.cli.checks.board import Untold
from airlock.core.clock import SYSTEM
from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from airlock.cli.checks.site import Settings

ROWS = (
    "SELECT e.chain_uid, e.seq, e.decision, e.reason, e.resource, e.subject,"
    " json_extract(e.metadata, '$.synthetic') AS synthetic"
    " FROM audit_events e JOIN audit_log l ON l.id = e.id JOIN audit_personal p ON p.n = l.n"
    " WHERE e.timestamp >= :since AND e.event_type = 'call' AND e.phase <> 'intent'"
    " AND json_extract(p.data, '$.user_agent') = :agent"
)
"""Deciding rows of the calls that named this agent."""

BACK = "10m"
"""How far back a check looks: further than it can take."""


class Log:
    """The log of the configured data directory. Every method raises Untold where it cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def rows(self, agent: str) -> list[Row]:
        """The deciding rows of the calls that named this agent."""
        asked = {"since": moment(BACK, SYSTEM), "agent": agent}
        try:
            data, _ = self._reached()
            answer = run(data / "audit.db", ROWS, asked, clock=SYSTEM)
        except (ConfigError, OSError, sqlite3.Error, ValueError) as error:
            raise Untold(str(error)) from error
        found = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        return msgspec.convert(found, list[Row])

    def report(self, *, chain: str | None, patience: float) -> Report:
        """The log verified: one chain over the last minutes, or without `chain` all of it; for at most
        `patience` seconds."""
        end = SYSTEM.monotonic() + patience

        def progress(_: int) -> None:
            if SYSTEM.monotonic() > end:
                raise Untold(f"the log was not verified within {patience:g} s")

        try:
            data, unreached = self._reached()
            return Inspection(
                data / "audit.db",
                journals=data / "journal",
                chain=chain,
                since=moment(BACK, SYSTEM) if chain else None,
                unproven=unreached,
                progress=progress,
            ).run()
        except (ConfigError, OSError, sqlite3.Error, ValueError) as error:
            raise Untold(str(error)) from error

    def _reached(self) -> tuple[Path, list[str]]:
        """The data directory, with its database brought up to the journals, and what stands between."""
        data = Path(self._settings.whole.data_dir)
        return data, catch_up(data, clock=SYSTEM, pause=time.sleep)
