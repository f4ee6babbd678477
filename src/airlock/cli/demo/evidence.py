"""Where facts come from: rows of the audit log, what the catalogue received, Airlock's own commands."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from airlock.cli.demo.site import Site
from airlock.core.clock import SYSTEM

LOOK = 0.05
"""Seconds between two looks at something that is expected."""

PATIENCE = 10.0
"""Seconds that something expected may take."""

ROWS = """
SELECT id, chain_uid, seq, phase, decision, reason, severity, resource, subject, definition_digest
FROM audit_events
WHERE action = :action AND (:id = '' OR correlation_id = :id) AND (:subject = '' OR subject = :subject)
  AND (:resource = '' OR resource = :resource) AND (:decision = '' OR decision = :decision)
ORDER BY timestamp"""

CALLS = """
SELECT l.correlation_id AS call, l.phase, coalesce(l.decision, '') AS decision,
  coalesce(json_extract(p.data, '$.arguments_digest'), '') AS digest
FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n WHERE l.resource = :resource"""

Found = TypeVar("Found")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the log, as operators see it."""

    id: str
    chain_uid: str
    seq: int
    phase: str
    decision: str | None
    reason: str
    severity: str
    resource: str | None
    subject: str | None
    definition_digest: str | None

    def __str__(self) -> str:
        """The row in one line."""
        who = f"by {self.subject}" if self.subject else ""
        words = (self.decision, self.reason, self.severity, self.resource, who)
        return "  ".join(word for word in words if word)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a recorded call."""

    call: str
    """The same in every row of one call."""
    phase: str
    decision: str
    digest: str
    """Of its arguments; empty where a call that was cut off is closed by somebody who never saw them."""


class Said(msgspec.Struct, frozen=True):
    """What one of Airlock's commands answered."""

    exit: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


class Evidence:
    """Looks, and changes nothing."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def rows(
        self,
        action: str = "tool_call",
        *,
        id: str = "",
        subject: str = "",
        resource: str = "",
        decision: str = "",
        least: int = 1,
    ) -> list[Row]:
        """The rows that match, once there are enough of them; or what there is after `PATIENCE`."""
        values = {"action": action, "id": id, "subject": subject, "resource": resource, "decision": decision}

        def look() -> tuple[bool, list[Row]]:
            rows = [msgspec.convert(row, Row) for row in self._ask(ROWS, values)]
            return len(rows) >= least, rows

        return await eventually(look)

    async def recorded(self, resource: str, *, until: Callable[[list[Entry]], bool]) -> list[Entry]:
        """Every recorded call of a tool, once `until` holds for them, or after `PATIENCE`."""

        def look() -> tuple[bool, list[Entry]]:
            entries = [msgspec.convert(row, Entry) for row in self._ask(CALLS, {"resource": resource})]
            return until(entries), entries

        return await eventually(look)

    def received(self) -> list[dict[str, Any]]:
        """The calls that reached the catalogue, in its own record."""
        path = self._site.calls
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def airlock(
        self, *arguments: str, here: bool = True, variables: Mapping[str, str] | None = None
    ) -> Said:
        """One of Airlock's own commands, on this gateway's configuration, with further `variables` of the
        environment."""
        place = ("--config", str(self._site.config)) if here else ()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "airlock.cli", *arguments, *place),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._site.environment(), **(variables or {})},
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Said(process.returncode or 0, out.decode(), err.decode())

    def _ask(self, sql: str, values: dict[str, str]) -> list[dict[str, Any]]:
        path: Path = self._site.data / "audit.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(sql, values)]


async def eventually(look: Callable[[], tuple[bool, Found]], *, within: float = PATIENCE) -> Found:
    """What `look` finds once it is satisfied, or at last after `within` seconds."""

    async def looked() -> tuple[bool, Found]:
        return look()

    return await eventually_true(looked, within=within)


async def eventually_true(
    look: Callable[[], Awaitable[tuple[bool, Found]]], *, within: float = PATIENCE
) -> Found:
    """The same for what has to be awaited."""
    deadline = SYSTEM.monotonic() + within
    while True:
        satisfied, found = await look()
        if satisfied or SYSTEM.monotonic() > deadline:
            return found
        await asyncio.sleep(LOOK)
