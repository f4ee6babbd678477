"""What the database says of a chain when it is taken over."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from airlock.audit.database import schema
from airlock.audit.watermark import watermark
from airlock.core.errors import AuditFault
from tests.audit.test_entry import decode
from tests.audit.writing_parts import UID

if TYPE_CHECKING:
    from pathlib import Path

OTHER = UID.replace("1", "2")


def row(database: sqlite3.Connection, seq: int, *, chain: str = UID, **fields: Any) -> None:
    given: dict[str, Any] = {
        "n": seq, "chain_uid": chain, "seq": seq, "id": f"{chain}{seq}", "hash": f"{seq:064}",
        "timestamp": "2026-01-02 03:04:05.000006", "previous_hash": None if seq == 1 else "ab" * 32,
        "leaf_hash": bytes(32), "entry": f'{{"seq":{seq}}}'.encode(), **fields,
    }  # fmt: skip
    names, marks = ", ".join(given), ", ".join("?" * len(given))
    database.execute(f"INSERT INTO audit_log ({names}) VALUES ({marks})", list(given.values()))  # noqa: S608


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "audit.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(schema())
        for uid in (UID, OTHER):
            database.execute(
                "INSERT INTO audit_chains (chain_uid, origin, opened_at, head_seq, head_hash)"
                " VALUES (?, ?, '2026-01-02 03:04:05.000006', 8, ?)",
                (uid, uid, "ef" * 32),
            )
        call = {"action": "tool_call", "tenant": "acme"}
        row(database, 1, phase="intent", correlation_id="before", tenant_seq=1, **call)
        row(database, 2, phase="single", action="process_start")
        row(database, 3, phase="intent", correlation_id="ended", tenant_seq=2, **call)
        row(database, 4, phase="outcome", correlation_id="ended", tenant_seq=3, **call)
        row(database, 5, phase="intent", correlation_id="open", tenant_seq=4, **call)
        row(database, 6, phase="intent", correlation_id="erased", tenant_seq=5, **call)
        row(database, 7, phase="intent", correlation_id="bare", tenant_seq=6, **call)
        row(database, 8, phase="single", action="login", tenant="umbrella", tenant_seq=1)
        personal = "INSERT INTO audit_personal VALUES (?, ?, ?, ?, ?)"
        database.execute(personal, (5, bytes(32), "alice", "192.0.2.7", '{"token_id":"t"}'))
        database.execute(personal, (7, bytes(32), None, None, None))
        database.commit()
    return path


def test_no_database_knows_nothing(tmp_path: Path) -> None:
    assert watermark(tmp_path / "audit.db", UID) is None


def test_a_chain_that_the_database_never_heard_of(path: Path) -> None:
    assert watermark(path, UID.replace("1", "3")) is None


def test_head_counters_and_intents_of_the_last_run(path: Path) -> None:
    found = watermark(path, UID)
    assert found is not None
    assert (found.seq, found.hash) == (8, "ef" * 32)
    assert found.tenants == {"acme": 6, "umbrella": 1}
    assert [intent.entry for intent in found.open_intents] == [b'{"seq":5}', b'{"seq":6}', b'{"seq":7}']
    assert [intent.personal and decode(intent.personal)["values"] for intent in found.open_intents] == [
        {"token_id": "t", "subject": "alice", "source_ip": "192.0.2.7"},
        b"",
        {},
    ]


def test_a_chain_without_rows_has_only_its_head(path: Path) -> None:
    found = watermark(path, OTHER)
    assert found is not None
    assert (found.seq, found.tenants, found.open_intents) == (8, {}, ())


def test_a_database_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "audit.db").write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(AuditFault, match="cannot be read"):
        watermark(tmp_path / "audit.db", UID)
