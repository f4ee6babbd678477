"""Rows for other programs: exact values, in order, and a table that an import beside it does not spoil."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from airlock.audit import export
from airlock.audit.export import COLUMNS, Filter
from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.audit.conftest import Log

HOSTILE = '=cmd|"a",\r\n\u202eb\u2028c'


def rows(log: Log) -> list[dict[str, object]]:
    with closing(sqlite3.connect(log.path)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM audit_events ORDER BY seq")]


@pytest.fixture
def hostile(log: Log) -> Log:
    log.append(
        Event(
            event_type="call",
            action="tool_call",
            decision="deny",
            reason=HOSTILE,
            tenant="acme",
            metadata={"text": HOSTILE},
            personal=Personal(subject=HOSTILE, source_ip="203.0.113.7"),
        )
    )
    log.project()
    return log


def test_the_columns_are_those_of_the_view(log: Log) -> None:
    assert tuple(rows(log)[0]) == COLUMNS


def test_csv_gives_every_value_back(hostile: Log) -> None:
    out = io.BytesIO()
    told = export.to_csv(hostile.path, out, Filter())
    read = list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))
    stored = [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in rows(hostile)
    ]
    assert read == stored
    assert told.sha256 == hashlib.sha256(out.getvalue()).hexdigest()
    assert (told.rows, told.chains) == (len(stored), {hostile.uid: (1, len(stored))})


def test_lines_of_json_give_every_value_back(hostile: Log) -> None:
    out = io.BytesIO()
    export.to_jsonl(hostile.path, out, Filter(decision="deny"))
    (line,) = out.getvalue().decode().split("\n")[:-1]
    told = json.loads(line)
    assert (told["subject"], told["reason"], told["metadata"]["text"]) == (HOSTILE, HOSTILE, HOSTILE)
    assert told["previous_hash"] == rows(hostile)[-1]["previous_hash"]


def test_a_row_without_metadata_stays_one(log: Log) -> None:
    log.prune(3)
    out = io.BytesIO()
    export.to_jsonl(log.path, out, Filter())
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {row["seq"]: row["metadata"] is None for row in told}[3]


@pytest.mark.parametrize(
    ("which", "count"),
    [
        (Filter(decision="deny"), 1),
        (Filter(subject=HOSTILE), 1),
        (Filter(tenant="nobody"), 0),
        (Filter(since="2999-01-01"), 0),
        (Filter(tenant="acme", since="2000-01-01", decision="deny"), 1),
    ],
)
def test_a_filter_restricts(hostile: Log, which: Filter, count: int) -> None:
    assert export.to_csv(hostile.path, io.BytesIO(), which).rows == count


def test_pages_do_not_show(hostile: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, paged = io.BytesIO(), io.BytesIO()
    export.to_csv(hostile.path, whole, Filter())
    monkeypatch.setattr(export, "PAGE", 3)
    export.to_csv(hostile.path, paged, Filter())
    assert paged.getvalue() == whole.getvalue()


def test_a_prepared_file_takes_stray_rows_that_decide_nothing(hostile: Log, tmp_path: Path) -> None:
    prepared, text = tmp_path / "analysis.db", tmp_path / "events.csv"
    told = export.to_sqlite(hostile.path, prepared, Filter())
    with text.open("wb") as out:
        export.to_csv(hostile.path, out, Filter())
    count = "SELECT COUNT(*) FROM audit_events WHERE decision = 'deny'"
    before = subprocess.run(["sqlite3", prepared, count], capture_output=True, text=True, check=True).stdout
    assert told.sha256 == hashlib.sha256(prepared.read_bytes()).hexdigest()
    subprocess.run(
        ["sqlite3", prepared, f".import {text} audit_events"], capture_output=True, text=True, check=True
    )
    after = subprocess.run(["sqlite3", prepared, count], capture_output=True, text=True, check=True).stdout
    assert before == after == "1\n"
    assert prepared.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        export.to_sqlite(hostile.path, prepared, Filter())
