"""Rows in the audit log for changed definitions: one for each tool, or one for all where many changed.

A server decides how many definitions change, so it must not decide how many rows are written.
"""

from __future__ import annotations

from airlock.core.config import ServerEntry
from airlock.model.entry import Event

ROWS_MOST = 5
"""Changed tools of one reading that each get a row of their own."""

NAMED_MOST = 20
"""Tools named in a row that stands for many."""


def events_of(entry: ServerEntry, changed: tuple[tuple[str, str], ...]) -> list[Event]:
    """The rows for (tool, digest) of the definitions that one reading of a server showed to be changed."""
    if len(changed) <= ROWS_MOST:
        return [
            Event(
                event_type="system",
                action="tool_drift",
                resource=f"mcp://{entry.name}/{tool}",
                server_id=entry.name,
                tool_name=tool,
                definition_digest=digest,
                tenant=entry.tenant,
                reason="definition_changed",
                severity="CRITICAL",
            )
            for tool, digest in changed
        ]
    return [
        Event(
            event_type="system",
            action="tool_drift",
            resource=f"mcp://{entry.name}",
            server_id=entry.name,
            tenant=entry.tenant,
            reason="definition_changed",
            severity="CRITICAL",
            metadata={"tools": [tool for tool, _ in changed[:NAMED_MOST]], "count": len(changed)},
        )
    ]
