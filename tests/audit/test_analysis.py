"""Attempts counted: the same numbers from the database and from what was exported of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from airlock.audit import analysis, export
from airlock.audit.analysis import Asked
from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.audit.conftest import Log


def attempts(log: Log, rows: int, *, who: str = "", where: str = "203.0.113.7", **fields: Any) -> None:
    said: dict[str, Any] = {"event_type": "auth", "action": "token_validate", "decision": "deny", **fields}
    log.append(*(Event(**said, personal=Personal(subject=who, source_ip=where)) for _ in range(rows)))


@pytest.fixture
def busy(log: Log) -> Log:
    attempts(log, 2, metadata={"count": 25})
    attempts(log, 3, who="mallory", where="198.51.100.9", action="tool_call", reason='no, "never"\n')
    attempts(log, 1, who="mallory", action="privilege_escalation_attempt", reason="not_administrator")
    log.append(Event(event_type="redaction", action="redact_data", redaction_count=4))
    log.project()
    return log


def table(answer: analysis.Analysis) -> list[tuple[object, ...]]:
    return [
        (group.attempts, group.denied, *map(group.values.get, ("subject", "source_ip", "action")))
        for group in answer.groups
    ]


def test_folded_rows_count_in_full_and_the_most_come_first(busy: Log) -> None:
    answer = analysis.of_database(busy.path, Asked())
    assert table(answer)[0] == (50, 50, None, "203.0.113.7", "token_validate")
    assert (3, 3, "mallory", "198.51.100.9", "tool_call") in table(answer)
    assert [group.values["action"] for group in answer.alarming] == ["token_validate"]


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize(
    "asked",
    [
        Asked(),
        Asked(group=("action",)),
        Asked(decision="deny", group=("subject", "source_ip", "action")),
        Asked(kind="privilege_escalation"),
        Asked(since="2999-01-01"),
    ],
    ids=lambda asked: f"{asked.kind}{asked.decision}{len(asked.group)}{asked.since}",
)
def test_a_file_gives_the_numbers_of_the_database(
    busy: Log, tmp_path: Path, *, asked: Asked, head: bool
) -> None:
    out = io.BytesIO()
    export.to_csv(busy.path, out, export.Filter())
    text = out.getvalue()
    (tmp_path / "events.csv").write_bytes(text if head else text.split(b"\r\n", 1)[1])
    assert analysis.of_csv(tmp_path / "events.csv", asked) == analysis.of_database(busy.path, asked)


def test_one_event_of_a_class_is_worth_a_look(busy: Log) -> None:
    answer = analysis.of_database(busy.path, Asked(kind="privilege_escalation"))
    assert (answer.attempts, len(answer.alarming)) == (1, 1)
    assert analysis.of_database(busy.path, Asked(kind="session_hijack")).groups == []
    common = analysis.of_database(busy.path, Asked(kind="authentication"), alarm=51)
    assert (common.attempts, common.alarming) == (50, [])


def test_an_alarm_is_what_was_asked_for(busy: Log) -> None:
    few = analysis.of_database(busy.path, Asked(), alarm=3)
    assert len(few.alarming) == 2
    assert analysis.of_database(busy.path, Asked(), alarm=51).alarming == []


def test_what_is_allowed_is_no_alarm(log: Log) -> None:
    attempts(log, 30, who="alice", decision="allow")
    log.project()
    answer = analysis.of_database(log.path, Asked(decision="allow", group=("subject",)))
    found = {group.values["subject"]: (group.attempts, group.denied) for group in answer.groups}
    assert found["alice"] == (30, 0)
    assert answer.alarming == []


def test_groups_beyond_the_bound_are_said(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts(log, 1, who="a")
    attempts(log, 2, who="b")
    log.project()
    monkeypatch.setattr(analysis, "MOST", 1)
    answer = analysis.of_database(log.path, Asked(group=("subject",), decision="deny"))
    assert (len(answer.groups), answer.truncated, answer.attempts) == (1, True, 3)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"group": ("subject", "salary")}, "cannot group by salary: there are source_ip"),
        ({"group": ()}, "cannot group by nothing"),
        ({"kind": "witchcraft"}, "no class is called witchcraft: there are privilege_escalation"),
    ],
)
def test_what_cannot_be_asked_is_said(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Asked(**wrong)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a,b\r\n", "row 1 has 2 values instead of 25"),
        (b'"a\r\n', "no CSV file"),
        (b"\xff\xfe", "no CSV file"),
    ],
)
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, text: bytes, why: str) -> None:
    (tmp_path / "other.csv").write_bytes(text)
    with pytest.raises(ValueError, match=why):
        analysis.of_csv(tmp_path / "other.csv", Asked())
