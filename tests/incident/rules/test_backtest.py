"""What a rule would have found in a log that is there."""

from __future__ import annotations

import io
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from airlock.incident.detect import hunting
from airlock.incident.detect.backtest import Backtest, backtest
from airlock.incident.detect.catalogue import rules
from airlock.incident.detect.memory import HOUR
from airlock.incident.detect.replay import hits
from airlock.model.entry import Event, Personal
from airlock.model.incident import Finding
from tests.audit.conftest import Log


def refusal(subject: str = "mallory") -> Event:
    return Event(
        event_type="call", action="tool_call", decision="deny", reason="policy_denied", tenant="acme",
        personal=Personal(issuer="i", subject=subject, source_ip="203.0.113.7"),
    )  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Calls, a burst of 25 refusals, and three hours later one of 22."""
    made = Log(tmp_path / "data")
    made.clock.now -= 6 * HOUR
    made.fill(5)
    for count in (25, 22):
        for _ in range(count):
            made.append(refusal())
            made.clock.forward(2)
        made.clock.forward(3 * HOUR)
    made.project()
    made.release()
    return made


def test_alerts_of_the_past_are_counted_with_their_rows(log: Log) -> None:
    now = log.clock.wall()
    found = backtest(log.path, rules()["MCP-001"], since=now - 8 * HOUR, now=now)
    assert (found.alerts, found.rows, found.learned_from, found.shortened) == (2, 53, 0, False)
    assert [hit.group["subject"] for hit in found.hits] == ["mallory", "mallory"]
    assert all(hit.event_ids and hit.first <= hit.last for hit in found.hits)
    assert found.per_day == 2


def test_another_threshold_has_another_price(log: Log) -> None:
    now = log.clock.wall()
    high = backtest(log.path, rules()["MCP-001"], since=0, now=now, thresholds={"count": 24})
    assert (high.alerts, high.thresholds["count"]) == (1, 24)
    with pytest.raises(ValueError, match="MCP-001 has no threshold speed: it has count, grave"):
        backtest(log.path, rules()["MCP-001"], since=0, now=now, thresholds={"speed": 1})


def test_what_came_before_is_only_learned_from(log: Log) -> None:
    now = log.clock.wall()
    found = backtest(log.path, rules()["MCP-001"], since=now - 4 * HOUR, now=now)
    assert (found.alerts, found.learned_from) == (1, 31)


def test_more_rows_than_are_read_shorten_the_period(log: Log) -> None:
    now = log.clock.wall()
    found = backtest(log.path, rules()["MCP-001"], since=0, now=now, most=22)
    assert (found.alerts, found.rows, found.shortened) == (1, 22, True)
    assert found.since > now - 5 * HOUR


def test_a_log_of_nothing_has_no_alerts(tmp_path: Path) -> None:
    made = Log(tmp_path / "data")
    made.project()
    made.release()
    with pytest.raises(sqlite3.OperationalError):
        backtest(tmp_path / "none.db", rules()["MCP-001"], since=0, now=1.0)
    assert backtest(made.path, rules()["MCP-001"], since=0, now=1.0).alerts == 0


def test_findings_of_a_group_fold_until_a_window_is_quiet() -> None:
    def finding(until: float, severity: str = "P2", subject: str = "ada") -> Finding:
        return msgspec.convert(
            {"rule": "MCP-001", "severity": severity, "summary": "s", "since": 0, "until": until,
             "group": {"subject": subject}},
            Finding,
        )  # fmt: skip

    found = hits([finding(0), finding(100, "P1"), finding(150, subject="bob"), finding(500)], 300)
    assert [(hit.first, hit.last, hit.count, hit.finding.severity) for hit in found] == [
        (0, 100, 2, "P1"), (150, 150, 1, "P2"), (500, 500, 1, "P2"),
    ]  # fmt: skip


def hunt(monkeypatch: pytest.MonkeyPatch, path: Path) -> tuple[int, bytes, str]:
    question = hunting.Question(audit=str(path), rule="MCP-001", since=0, now=1.0, thresholds={}, most=100)
    given, told = io.BytesIO(msgspec.json.encode(question)), io.BytesIO()
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=given))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=told))
    monkeypatch.setattr(sys, "stderr", said)
    return hunting.main(), told.getvalue(), said.getvalue()


def test_a_hunt_is_a_program_of_its_own(log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, told, said = hunt(monkeypatch, log.path)
    assert (code, said, msgspec.json.decode(told, type=Backtest).alerts) == (0, "", 2)
    code, told, said = hunt(monkeypatch, tmp_path / "none.db")
    assert (code, told) == (hunting.CANNOT, b"")
    assert "unable to open" in said
