"""Stored questions to a log as the product writes it: what they count, and that each answer can be cited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from airlock.core.clock import timestamp
from airlock.incident import questions, soundness
from airlock.incident.questions import COMPLIANCE, NAMES
from airlock.model.entry import Event, Personal
from tests.audit.conftest import HandClock, Log, call

BACK = 3600.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "data")
    made.fill(3)
    yield made
    made.release()


def ask(log: Log, name: str, *, most: int = 10_000) -> questions.Answered:
    log.project()
    now = log.clock.wall()
    return questions.ask(log.path, name, since=now - BACK, until=now + 1, clock=HandClock(), most=most)


def failed(subject: str, number: int = 1, **more: object) -> Event:
    values = {"decision": "error", "reason": "upstream_unavailable", "phase": "outcome", **more}
    return call(number, personal=Personal(subject=subject), **values)


def redacted(subject: str, detectors: dict[str, int], number: int = 1) -> Event:
    found = {"method": "tools/call", "detectors": detectors}
    return call(
        number, event_type="redaction", action="redact_data", decision=None, reason="redacted",
        redaction_count=sum(detectors.values()), metadata=found, personal=Personal(subject=subject),
    )  # fmt: skip


def test_affected_users_are_those_whose_calls_failed_or_were_contained(log: Log) -> None:
    log.append(failed("carol"), failed("carol", 2), failed("dave", 3, tenant="other"))
    log.append(failed("erin", 4, decision="deny", reason="contained", phase="single"))
    log.append(failed("frank", 5, decision="deny", reason="not_allowed", phase="single"))
    log.append(failed("robot", 6, metadata={"synthetic": True}))
    found = ask(log, "affected_users")
    assert [row[:4] for row in found.rows] == [
        ("carol", "acme", 2, 0), ("dave", "other", 1, 0), ("erin", "acme", 0, 1),
    ]  # fmt: skip
    assert ask(log, "affected_tools").rows == (("files", "read", 3, 1),)


def test_calls_are_counted_by_how_they_ended(log: Log) -> None:
    log.append(failed("carol"), call(9, decision="deny", reason="not_allowed"))
    found = ask(log, "calls")
    assert {name: found.number(name) for name in found.columns} == {
        "allowed": 3, "denied": 1, "failed": 1, "calls": 5,
    }  # fmt: skip


def test_folded_refusals_count_in_full(log: Log) -> None:
    stranger = {
        "event_type": "auth",
        "action": "token_validate",
        "decision": "deny",
        "reason": "bad_signature",
    }
    log.append(
        call(1, **stranger, tenant="", metadata={"count": 49}, personal=Personal(source_ip="203.0.113.9"))
    )
    found = ask(log, "denials")
    assert found.rows[0][:4] == ("token_validate", "bad_signature", "", 49)
    assert found.total("attempts") == 49
    assert ask(log, "sources").rows[0][:3] == ("203.0.113.9", 49, 0)


def test_kinds_of_data_are_counted_by_what_redaction_took_out(log: Log) -> None:
    log.append(redacted("carol", {"email": 2, "iban": 1}), redacted("dave", {"email": 3}, 2))
    found = ask(log, "redactions")
    assert found.rows == (("email", 5, 2, 2, 1), ("iban", 1, 1, 1, 1))
    assert ask(log, "individuals").rows == ((2, 1),)


def test_hours_without_an_event_are_listed(log: Log) -> None:
    found = ask(log, "hours")
    assert len(found.rows) in (2, 3)
    assert sum(int(str(row[1])) for row in found.rows) == 4
    assert all(str(row[0]).endswith(":00:00") for row in found.rows)


def test_minutes_without_policy_are_listed(log: Log) -> None:
    assert ask(log, "fail_open").rows == ()
    log.append(call(7, reason="fail_open"), call(8, reason="fail_open"))
    assert sum(int(str(row[1])) for row in ask(log, "fail_open").rows) == 2


def test_a_call_that_policy_did_not_judge_counts_however_it_ended(log: Log) -> None:
    """It passed: that its server failed afterwards, or that its end is not known, changes nothing."""
    passed = {"metadata": {"grant": "g-1"}}
    log.append(
        call(7, decision="error", reason="upstream_unavailable", **passed),
        call(8, decision=None, phase="intent", reason="", **passed),
    )
    assert sum(int(str(row[1])) for row in ask(log, "fail_open").rows) == 2


def test_the_first_hour_counts_what_lies_in_the_window(log: Log) -> None:
    log.project()
    now = log.clock.wall()
    found = questions.ask(log.path, "hours", since=now + 1, until=now + 2, clock=log.clock)
    assert found.total("events") == 0


def test_tools_that_nobody_approved_are_listed(log: Log) -> None:
    log.append(call(1, event_type="system", action="tool_drift", decision=None, reason="definition_changed"))
    log.append(call(2, decision="deny", reason="definition_not_approved"))
    assert ask(log, "unapproved_tools").rows[0][:5] == ("files", "read", 1, 1, 0)


def test_an_answer_has_a_digest_that_whoever_asks_again_gets_too(log: Log) -> None:
    log.project()
    now = log.clock.wall()

    def asked(until: float = now) -> str:
        return questions.ask(log.path, "calls", since=now - BACK, until=until, clock=HandClock()).digest

    assert len(asked()) == 64
    assert asked() == asked()
    assert asked() != asked(now + 1)
    assert questions.ask(log.path, "calls", since=0, until=now, clock=HandClock()).since == timestamp(0)


@pytest.mark.parametrize("name", sorted({*NAMES, *COMPLIANCE, "exposure"}))
def test_every_question_says_what_it_answers(log: Log, name: str) -> None:
    assert questions.question(name).title
    found = ask(log, name)
    assert found.known, found.problem
    assert len(questions.as_json(found)["rows"]) == len(found.rows)  # type: ignore[arg-type]
    assert name in found.citation


def test_what_cannot_be_asked_is_said_and_not_raised(tmp_path: Path) -> None:
    nowhere = tmp_path / "audit.db"
    found = questions.ask(nowhere, "calls", since=0, until=1, clock=HandClock())
    assert not found.known
    assert found.problem
    assert found.number("calls") is None
    assert found.total("calls") is None
    assert soundness.integrity(nowhere, journals=None, since=0, until=1).problem
    assert soundness.missing(nowhere, journals=None, since=0, until=1).problem


def test_an_answer_that_was_cut_says_so(log: Log) -> None:
    assert ask(log, "exposure", most=2).problem == "only the first 2 rows"


@pytest.mark.parametrize("name", ["nothing", "../schema", ""])
def test_there_are_no_other_questions(name: str) -> None:
    with pytest.raises(LookupError):
        questions.question(name)


def test_a_genuine_log_is_intact_and_an_edited_one_names_the_row(log: Log) -> None:
    log.project()
    now = log.clock.wall()
    found = soundness.integrity(log.path, journals=log.journals, since=now - BACK, until=now)
    assert found.rows[0][:3] == ("intact", 4, True)
    log.tamper("UPDATE audit_log SET decision = 'deny' WHERE seq = 3")
    found = soundness.integrity(log.path, journals=log.journals, since=now - BACK, until=now)
    assert (found.rows[0][0], found.rows[0][3]) == ("failed", f"seq 3 of chain {log.uid}")


def test_a_log_without_a_chain_proves_nothing(tmp_path: Path) -> None:
    from airlock.audit.database import open_writer

    open_writer(tmp_path / "audit.db").close()
    found = soundness.integrity(tmp_path / "audit.db", journals=None, since=0, until=1)
    assert found.rows[0][0] == "not proven"


def test_a_deleted_row_is_missing(log: Log) -> None:
    log.project()
    log.tamper("DELETE FROM audit_personal WHERE n = 3", "DELETE FROM audit_log WHERE seq = 3")
    now = log.clock.wall()
    found = soundness.missing(log.path, journals=log.journals, since=now - BACK, until=now)
    assert ("seq", "gap") in {row[:2] for row in found.rows}


@pytest.mark.parametrize(
    ("rows", "code"),
    [({}, 0), ({"gaps": [("seq", "gap")]}, 1), ({"gaps": [("silence", "cannot tell")]}, 3),
     ({"fail_open": [("2026-11-22 21:07", 3)]}, 1), ({"unapproved_tools": [("s", 1)]}, 1),
     ({"unapproved_tools": [("s", 0)]}, 0)],
)  # fmt: skip
def test_a_report_is_good_bad_or_cannot_tell(rows: dict[str, list[tuple[object, ...]]], code: int) -> None:
    columns = {
        "gaps": ("check", "result"),
        "fail_open": ("minute", "calls"),
        "unapproved_tools": ("server", "called"),
    }
    answers = [
        questions.answered(
            questions.Answered(query=name, title="", since="", until=""), names, rows.get(name, ()), sql=""
        )
        for name, names in columns.items()
    ]
    assert questions.verdict(answers) == code


def test_a_report_of_which_a_part_is_cut_off_cannot_tell() -> None:
    empty = questions.Answered(query="", title="", since="", until="")
    answers = [
        questions.answered(msgspec.structs.replace(empty, query=name), columns, (), sql="", problem=problem)
        for name, columns, problem in (
            ("hours", ("starts_at",), "only the first 10000 rows"),
            ("gaps", ("result",), ""), ("fail_open", ("minute",), ""), ("unapproved_tools", ("called",), ""),
        )
    ]  # fmt: skip
    assert questions.verdict(answers) == 3


def test_a_report_without_an_answer_cannot_tell() -> None:
    empty = [questions.Answered(query=name, title="", since="", until="", problem="no log")
             for name in ("gaps", "fail_open", "unapproved_tools")]  # fmt: skip
    assert questions.verdict(empty) == 3
