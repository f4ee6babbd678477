"""Changed definitions in the log: a row for each of a few tools, one row for many."""

from __future__ import annotations

from airlock.core.config import ServerEntry
from airlock.gateway.drift import NAMED_MOST, ROWS_MOST, events_of
from airlock.model.entry import Event

NOTES = ServerEntry(name="notes", transport="http", url="http://127.0.0.1:9/mcp", tenant="acme")


def rows(tools: int) -> list[Event]:
    return events_of(NOTES, tuple((f"t{n}", f"d{n}") for n in range(tools)))


def test_each_of_a_few_changed_tools_has_its_row() -> None:
    found = [(row.resource, row.tool_name, row.definition_digest, row.tenant) for row in rows(ROWS_MOST)]
    assert found == [(f"mcp://notes/t{n}", f"t{n}", f"d{n}", "acme") for n in range(ROWS_MOST)]


def test_many_changed_tools_of_one_reading_are_one_row() -> None:
    (row,) = rows(300)
    assert (row.resource, row.action, row.severity) == ("mcp://notes", "tool_drift", "CRITICAL")
    assert row.metadata == {"tools": [f"t{n}" for n in range(NAMED_MOST)], "count": 300}
