"""Questions: one SELECT that reads, bounded in rows and time, shown safely."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest

from airlock.audit import query
from airlock.audit.query import Answer, QueryRefused
from airlock.audit.visible import visible
from airlock.core.clock import SYSTEM
from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from tests.audit.conftest import Log


def ask(log: Log, sql: str, **options: object) -> Answer:
    return query.run(log.path, sql, {}, clock=SYSTEM, **options)  # pyright: ignore[reportArgumentType]


def test_a_select_is_answered(log: Log) -> None:
    answer = ask(log, "SELECT COUNT(*) AS rows FROM audit_events")
    assert (answer.columns, answer.rows, answer.truncated) == (("rows",), [(10,)], False)


def test_with_is_a_select_too(log: Log) -> None:
    assert ask(log, "WITH t AS (SELECT seq FROM audit_log) SELECT MAX(seq) FROM t").rows == [(10,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM audit_personal",
        "UPDATE audit_log SET decision = 'allow'",
        "INSERT INTO audit_holds VALUES ('a', 'b', 'c', 'd', NULL)",
        "DROP VIEW audit_events",
        "CREATE TEMP TABLE t (x)",
        "ATTACH '/tmp/other.db' AS other",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA table_info(audit_log)",
        "BEGIN IMMEDIATE",
        "VACUUM INTO '/tmp/copy.db'",
        "SELECT load_extension('evil')",
        "SELECT hex(fts3_tokenizer('simple'))",
        "SELECT FTS3_Tokenizer('simple', x'4141414141414141')",
        "SELECT length(randomblob(16))",
        "SELECT length(zeroblob(16))",
        "SELECT replace(printf('%9000000d', 1), ' ', 'ab')",
        "SELECT " + ", ".join(["1"] * 101),
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM audit_personal",
        "SELECT zeroblob(1000000000)",
        "SELECT nothing FROM audit_events",
        "SELECT :missing",
        "SELECT '\ud800'",
        "SELECT 1\0",
        "-- nothing",
        "",
        "not sql",
    ],
)
def test_anything_else_is_refused_and_changes_nothing(log: Log, sql: str) -> None:
    with pytest.raises(QueryRefused):
        ask(log, sql)
    assert log.verify().exit == 0


def test_a_question_that_runs_too_long_is_stopped(log: Log) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c"
    with pytest.raises(QueryRefused, match="longer than"):
        ask(log, endless, timeout=0.05)


def test_an_answer_ends_at_its_limit_and_says_so(log: Log) -> None:
    answer = ask(log, "SELECT seq FROM audit_log", limit=3)
    assert (len(answer.rows), answer.truncated) == (3, True)


@pytest.mark.parametrize("kind", ["TEXT", "BLOB"])
def test_an_answer_that_is_too_large_is_refused(log: Log, kind: str) -> None:
    sql = "SELECT CAST(printf('%16000000d', 1) AS KIND) FROM audit_log".replace("KIND", kind)
    with pytest.raises(QueryRefused, match="larger than 64 MiB"):
        ask(log, sql)
    assert len(ask(log, f"{sql} LIMIT 4").rows) == 4


def test_many_small_rows_are_too_large_as_well(log: Log) -> None:
    many = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    with pytest.raises(QueryRefused, match="larger than 64 MiB"):
        ask(log, many, limit=10_000_000)


@pytest.mark.parametrize("name", query.PREPARED)
def test_every_prepared_question_is_answered(log: Log, name: str) -> None:
    prepared = query.PREPARED[name]
    since = {"since": query.moment(prepared.since, SYSTEM)} if prepared.since else {}
    assert query.run(log.path, prepared.sql, since, clock=SYSTEM).columns


def test_folded_denials_count_in_full(log: Log) -> None:
    for count in ({}, {"count": 40}):
        log.append(
            Event(
                event_type="auth",
                action="token_validate",
                decision="deny",
                metadata=count,
                personal=Personal(source_ip="203.0.113.7"),
            )
        )
    log.project()
    answer = query.run(log.path, query.PREPARED["denials"].sql, {"since": "2000-01-01"}, clock=SYSTEM)
    assert answer.rows == [(41, None, "203.0.113.7", "token_validate", "deny")]


@pytest.mark.parametrize(
    ("criteria", "rows"),
    [({}, 10), ({"decision": "allow"}, 9), ({"severity": "CRITICAL"}, 0), ({"since": "2999-01-01"}, 0)],
)
def test_rows_by_criteria(log: Log, criteria: dict[str, str], rows: int) -> None:
    parameters = {"since": None, "severity": None, "decision": None, **criteria}
    assert len(query.run(log.path, query.SELECTION, parameters, clock=SYSTEM).rows) == rows


def test_a_moment_is_a_duration_or_a_time(log: Log) -> None:
    log.clock.now = 86400.0
    assert query.moment("2h", log.clock) == "1970-01-01 22:00:00.000000"
    assert query.moment("2026-01-02T03:04Z", log.clock) == "2026-01-02 03:04"
    with pytest.raises(ValueError, match="duration"):
        query.moment("yesterday", log.clock)


HOSTILE = 'a"b,\n\x1b[2J\u202e\x00=cmd'


def test_csv_for_a_program_is_exact_and_for_a_terminal_harmless() -> None:
    answer = Answer(columns=("x", "y"), rows=[(HOSTILE, b"\x01")], truncated=False)
    exact = query.as_csv(answer, exact=True)
    assert list(csv.reader(io.StringIO(exact, newline=""))) == [["x", "y"], [HOSTILE, "01"]]
    shown = query.as_csv(answer, exact=False)
    assert "\x1b" not in shown
    assert "\\x1b" in shown


def test_json_has_no_value_that_json_does_not_know() -> None:
    answer = Answer(columns=("x", "y"), rows=[(float("inf"), b"\x01")], truncated=False)
    assert query.as_json(answer)["rows"] == [{"x": "inf", "y": "01"}]


def test_what_is_shown_is_printable_and_short() -> None:
    assert (visible(HOSTILE), visible("x" * 9, 4), visible(None)) == (
        'a"b,\\n\\x1b[2J\\u202e\\x00=cmd',
        "xxxx...",
        "",
    )
