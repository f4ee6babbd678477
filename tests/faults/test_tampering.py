"""Each hand in the log leaves the trace that it should, and none at all afterwards."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from typer.testing import CliRunner

from airlock.audit import journal
from airlock.audit.occurrences import Facts as Program
from airlock.audit.recovery import open_log
from airlock.cli.audit import app
from airlock.core.clock import SYSTEM
from airlock.core.config import AuditSection
from airlock.model.entry import Event, Personal
from tests.faults import (
    Absent,
    Facts,
    history_rehashed,
    journal_edited,
    row_deleted,
    row_edited,
    row_forked,
    tail_truncated,
)

BROKEN_CHAINS = (
    "SELECT COUNT(*) FROM audit_events a WHERE previous_hash IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM audit_events b WHERE b.hash = a.previous_hash)"
)
"""Rows that name a hash which no row has."""


async def seal(data: Path, calls: int) -> None:
    writer = open_log(
        data_dir=data,
        audit=AuditSection(segment_size=65536),
        workers=1,
        facts=Program(origin="test/audit", host="h", version="v", configuration_digest="c"),
        clock=SYSTEM,
        log=structlog.get_logger(),
    )
    writer.start()
    try:
        for number in range(calls):
            person = Personal(subject=f"person-{number}", source_ip="203.0.113.7")
            call = Event(
                event_type="call",
                action="tool_call",
                phase="outcome",
                decision="allow",
                tenant="acme",
                correlation_id=f"call-{number}",
                personal=person,
            )
            await writer.seal(call)
    finally:
        writer.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    asyncio.run(seal(tmp_path / "data", 10))
    assert verify(tmp_path / "data") == set()
    return tmp_path / "data"


def verify(data: Path, *, journals: bool = True) -> set[str]:
    """The codes of what the product finds, with the journal at hand or without."""
    where = ("--data-dir", str(data)) if journals else ("--db", str(data / "audit.db"))
    done = CliRunner().invoke(app, ["verify", *where, "--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == bool(report["findings"])
    return {finding["code"] for finding in report["findings"]}


def content(data: Path) -> list[Any]:
    """Every row and every object of the schema."""
    with closing(sqlite3.connect(data / "audit.db")) as db:
        tables = ("audit_log", "audit_personal", "audit_chains")
        rows = [db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables]  # noqa: S608
        names = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        return [*rows, db.execute(names).fetchall()]


def ask(data: Path, sql: str, *arguments: object) -> Any:
    with closing(sqlite3.connect(data / "audit.db")) as db:
        return db.execute(sql, arguments).fetchone()[0]


class Shown(NamedTuple):
    """What a hand leaves to be seen."""

    alone: set[str]
    """By the database itself."""
    beside: set[str]
    """By the database beside its journal."""
    broken: int
    """Rows that the runbook's query calls broken."""


Hand = Callable[[Path], AbstractContextManager[Facts]]

HANDS: list[tuple[Hand, str, Shown]] = [
    (row_edited, "F7e", Shown({"V-COLUMN"}, {"V-COLUMN"}, 0)),
    (row_deleted, "F7d", Shown({"V-LINK"}, {"V-LINK"}, 1)),
    (tail_truncated, "F7t", Shown({"V-SIZE"}, {"V-SIZE"}, 0)),
    (lambda path: tail_truncated(path, cover=True), "F7t", Shown(set(), set(), 0)),
    (history_rehashed, "F7r", Shown(set(), {"V-JOURNAL"}, 0)),
    (row_forked, "F7k", Shown({"V-FORK"}, {"V-FORK"}, 0)),
]


@pytest.mark.parametrize(("hand", "fault", "shown"), HANDS)
def test_a_hand_in_the_database(data: Path, hand: Hand, fault: str, shown: Shown) -> None:
    before = content(data)
    with hand(data / "audit.db") as facts:
        assert facts.fault == fault
        assert content(data) != before
        assert ask(data, "PRAGMA integrity_check") == "ok"
        assert ask(data, BROKEN_CHAINS) == shown.broken
        assert shown.alone <= verify(data, journals=False)
        assert shown.beside <= verify(data)
        if not shown.alone:
            assert verify(data, journals=False) == set()
    assert content(data) == before
    assert verify(data) == set()


def test_the_edited_row_is_the_one_that_the_facts_name(data: Path) -> None:
    with row_edited(data / "audit.db", decision="error") as facts:
        seen = "SELECT decision FROM audit_log WHERE chain_uid = ? AND seq = ?"
        assert ask(data, seen, facts.values["chain_uid"], facts.values["seq"]) == "error"


def test_an_edited_journal_is_whole_by_its_checksums_and_not_by_its_links(data: Path) -> None:
    [chain] = journal.chains(data / "journal")
    before = {path.name: path.read_bytes() for path in chain.iterdir()}
    with journal_edited(chain, 5) as facts:
        records = list(journal.history(chain))
        assert b"alloy" in records[4].entry
        assert facts.values["seq"] == 5
        assert "V-JOURNAL" in verify(data)
    assert {path.name: path.read_bytes() for path in chain.iterdir()} == before
    assert verify(data) == set()


def test_a_hand_that_finds_nothing_to_change_says_so(tmp_path: Path) -> None:
    asyncio.run(seal(tmp_path / "data", 0))
    verify(tmp_path / "data")
    with pytest.raises(Absent, match="that was allowed"), row_edited(tmp_path / "data" / "audit.db"):
        pass
