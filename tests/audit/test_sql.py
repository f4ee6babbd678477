"""The operators' SQL, word for word, through the stock `sqlite3` program."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.audit.conftest import Log

LAST_TWO_HOURS = "SELECT * FROM audit_events WHERE timestamp > datetime('now', '-2 hours');"
DENIALS = """SELECT 
  COUNT(*) as attempts,
  subject,
  json_extract(metadata, '$.source_ip') as source_ip,
  action,
  decision
FROM audit_events 
WHERE decision = 'deny'
GROUP BY subject, source_ip, action
ORDER BY attempts DESC;"""
REDACTIONS = """SELECT COUNT(*) as redaction_events, 
          SUM(redaction_count) as total_redactions
   FROM audit_events 
   WHERE action = 'redact_data' 
   AND timestamp > datetime('now', '-24 hours');"""
BROKEN_CHAINS = """SELECT COUNT(*) as broken_chains
   FROM audit_events a1
   LEFT JOIN audit_events a2 ON a1.previous_hash = a2.hash
   WHERE a1.previous_hash IS NOT NULL AND a2.hash IS NULL;"""


def sqlite3(path: Path, *commands: str) -> str:
    done = subprocess.run(["sqlite3", str(path), *commands], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def denied(log: Log, rows: int, subject: str, address: str, **fields: object) -> None:
    for _ in range(rows):
        log.append(
            Event(
                event_type="call",
                action="tool_call",
                decision="deny",
                personal=Personal(subject=subject, source_ip=address),
                **fields,  # pyright: ignore[reportArgumentType]
            )
        )


def test_denials_are_counted_by_subject_and_address(log: Log) -> None:
    denied(log, 2, "mallory", "198.51.100.9")
    denied(log, 3, "mallory", "203.0.113.7", metadata={"method": "tools/call"})
    denied(log, 1, "eve", "203.0.113.7")
    log.project()
    assert sqlite3(log.path, DENIALS).splitlines() == [
        "3|mallory|203.0.113.7|tool_call|deny",
        "2|mallory|198.51.100.9|tool_call|deny",
        "1|eve|203.0.113.7|tool_call|deny",
    ]


def test_the_last_two_hours_hold_the_newest_call_and_nothing_older(log: Log) -> None:
    log.clock.forward(-3 * 3600)
    denied(log, 1, "old", "203.0.113.7")
    log.clock.forward(3 * 3600)
    denied(log, 1, "new", "203.0.113.7")
    log.project()
    shown = sqlite3(log.path, ".mode csv", LAST_TWO_HOURS)
    assert (len(shown.splitlines()), "old" in shown, "new" in shown) == (11, False, True)


def test_redactions_are_summed_once(log: Log) -> None:
    for count in (2, 5):
        log.append(Event(event_type="redaction", action="redact_data", redaction_count=count))
    log.project()
    assert sqlite3(log.path, REDACTIONS).strip() == "2|7"


def test_a_healthy_log_has_no_broken_chain_over_several_chains(log: Log) -> None:
    assert sqlite3(log.path, BROKEN_CHAINS).strip() == "0"


@pytest.mark.parametrize(
    ("statements", "broken"),
    [
        (("DELETE FROM audit_personal WHERE n = 5", "DELETE FROM audit_log WHERE n = 5"), "1"),
        (("UPDATE audit_log SET decision = 'deny' WHERE n = 5",), "0"),
        (("UPDATE audit_log SET entry = x'7b7d' WHERE n = 5",), "0"),
    ],
    ids=["deleted", "column edited", "entry edited"],
)
def test_broken_chains_sees_only_deletions_and_page_checks_nothing(
    log: Log, statements: tuple[str, ...], broken: str
) -> None:
    log.tamper(*statements)
    assert sqlite3(log.path, BROKEN_CHAINS).strip() == broken
    assert sqlite3(log.path, "PRAGMA integrity_check;").strip() == "ok"
    assert log.verify().exit == 1


def test_a_backup_is_whole_and_verifies(log: Log, tmp_path: Path) -> None:
    copy = tmp_path / "forensic-backup.db"
    sqlite3(log.path, f".backup {copy}")
    assert sqlite3(copy, "SELECT head_seq, head_hash FROM audit_chains;").strip() == f"10|{log.chain.hash}"
    log.path = copy
    assert log.verify().exit == 0


def test_erased_personal_values_leave_links_and_rows(log: Log) -> None:
    log.tamper("DELETE FROM audit_personal")
    assert sqlite3(log.path, BROKEN_CHAINS).strip() == "0"
    shown = "SELECT DISTINCT subject, json_extract(metadata, '$.source_ip') FROM audit_events;"
    assert sqlite3(log.path, shown).strip() == "|"


def test_an_hour_without_events_is_shown_as_zero(log: Log) -> None:
    hours = sqlite3(log.path, "SELECT COUNT(*), SUM(events) FROM audit_events_hourly;").strip()
    assert hours == "168|10"


def test_the_answers_are_read_while_the_log_is_written(log: Log) -> None:
    denied(log, 1, "mallory", "203.0.113.7")
    log.project()
    before = sqlite3(log.path, "SELECT COUNT(*) FROM audit_events;").strip()
    denied(log, 1, "mallory", "203.0.113.7")
    log.project()
    after = sqlite3(log.path, "SELECT COUNT(*) FROM audit_events;").strip()
    assert (before, after) == ("11", "12")
