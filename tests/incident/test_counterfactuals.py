"""Counterfactuals on a planted late detection: the right minutes, the right price, the right calls."""

from __future__ import annotations

import io
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from airlock.incident import hindsight
from airlock.incident.counterfactuals import Answer, Question, scaled, work_out
from airlock.incident.detect.catalogue import rules
from airlock.model.entry import Event, Personal
from airlock.model.incident import Alert, Finding, Incident
from airlock.model.lease import Lease, Selector
from tests.audit.conftest import Log

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def refusal(subject: str) -> Event:
    return Event(
        event_type="call", action="tool_call", decision="deny", reason="policy_denied", tenant="acme",
        personal=Personal(issuer="i", subject=subject, source_ip="203.0.113.7"),
    )  # fmt: skip


def passed(subject: str) -> Event:
    return Event(
        event_type="call", action="tool_call", decision="allow", phase="outcome", tenant="acme",
        server_id="docs", tool_name="read",
        personal=Personal(issuer="i", subject=subject, source_ip="198.51.100.9", token_id="t"),
    )  # fmt: skip


class Planted:
    """Two days of log. Ten days of asked price shrink to them.

    An honest user is refused 12 times in a minute, on each of both days: enough for half of the threshold of
    MCP-001. Then mallory is refused 12 times and ten minutes later 24 times, which is what was detected.
    """

    def __init__(self, folder: Path) -> None:
        log = Log(folder / "data")
        self.path = log.path
        log.clock.now = self.start = log.clock.now - 3 * DAY
        log.fill(1)
        for _ in range(2):
            self._burst(log, "ada", 12)
            log.clock.forward(DAY - MINUTE)
        self._burst(log, "mallory", 12)
        self.slow_at = log.clock.now
        log.clock.forward(10 * MINUTE)
        self._burst(log, "mallory", 24)
        self.detected = log.clock.now
        for number in range(10):
            log.append(passed("mallory" if number < 6 else "ada"))
            log.clock.forward(10)
        self.contained = log.clock.now
        log.project()
        log.release()

    def _burst(self, log: Log, subject: str, count: int) -> None:
        for _ in range(count):
            log.append(refusal(subject))
            log.clock.forward(MINUTE / count)

    def question(self, **more: Any) -> Question:
        finding = Finding(
            rule="MCP-001", severity="P2", tenant="acme", group={"subject": "mallory"},
            summary="24 refusals", since=self.detected - MINUTE, until=self.detected,
        )  # fmt: skip
        alert = Alert(
            id="alert-1", fingerprint="f", finding=finding, first_seen=self.detected, last_seen=self.detected
        )
        incident = Incident(
            id="INC-20260101-000001", title="t", type="security_incident", severity="P2", status="IN_REVIEW",
            detection_source="gateway_detection", rules=("MCP-001",), opened_at=self.detected,
            detected_at=self.detected, clocks_from=self.detected,
        )  # fmt: skip
        lease = Lease(
            id="lease-1", action="subject.suspend", selector=Selector(subject="mallory"), state="active",
            reason="r", actor="a", origin="api", created_at=self.contained, expires_at=None, max_until=None,
            epoch=1, incident=incident.id,
        )  # fmt: skip
        whole: dict[str, Any] = {
            "audit": str(self.path), "incident": incident, "alerts": (alert,), "leases": (lease,), "days": 10
        }  # fmt: skip
        return Question(**(whole | more))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


def test_a_lower_threshold_tells_earlier_at_its_price(planted: Planted) -> None:
    answer = work_out(planted.question())
    (half,) = [each for each in answer.earlier if each.rule == "MCP-001" and each.factor == 0.5]
    assert half.thresholds == {"count": 10, "grave": 50}
    assert half.fires_at == pytest.approx(planted.slow_at, abs=76)  # rules are asked at steps of 75 s
    assert half.earlier == pytest.approx(planted.detected - half.fires_at, abs=0.01)
    assert half.others == 2, "ada, on each of two days"
    assert answer.days == pytest.approx(2.0, abs=0.1), "there is no older log"
    assert answer.earlier == tuple(sorted(answer.earlier, key=lambda each: -each.earlier))
    assert f"rule MCP-001 at count=10, grave=50 fires {half.earlier / 60:.1f} min earlier" in answer.lines[0]


def test_a_lower_threshold_that_tells_no_earlier_is_no_line(planted: Planted) -> None:
    factors = [each.factor for each in work_out(planted.question()).earlier if each.rule == "MCP-001"]
    assert 0.75 not in factors, "15 refusals within five minutes came with the 24"
    assert len(factors) == len(set(factors))


def test_an_earlier_lease_would_have_stopped_what_passed_meanwhile(planted: Planted) -> None:
    answer = work_out(planted.question())
    (at_detection,) = [each for each in answer.sooner if each.at == "detection"]
    assert (at_detection.stopped, at_detection.calls, at_detection.unknown) == (6, 10, 0)
    expected = "lease lease-1 (subject.suspend) at the detection would have stopped 6 of 10 calls"
    assert expected in answer.lines


def test_the_same_question_has_the_same_answer(planted: Planted) -> None:
    first, again = work_out(planted.question()), work_out(planted.question())
    assert first == again
    assert len(first.digest) == 64
    assert work_out(planted.question(leases=())).digest != first.digest
    assert first.unplayed, "what is not played is said"


def test_without_a_party_the_rules_of_the_incident_count(planted: Planted) -> None:
    answer = work_out(planted.question(alerts=(), leases=()))
    assert {each.rule for each in answer.earlier} <= {"MCP-001"}
    assert answer.sooner == ()


@pytest.mark.parametrize("factor", [0.75, 0.5, 0.25])
def test_thresholds_go_down_and_stay_sensible(factor: float) -> None:
    for rule in rules().values():
        for name, value in scaled(rule, factor).items():
            own = rule.thresholds[name]
            assert 0 < value <= own
            assert own < 1 or value >= 1


def run(monkeypatch: pytest.MonkeyPatch, question: Question) -> tuple[int, bytes, str]:
    told, said = io.BytesIO(), io.StringIO()
    given = SimpleNamespace(buffer=io.BytesIO(msgspec.json.encode(question)))
    monkeypatch.setattr(sys, "stdin", given)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=told))
    monkeypatch.setattr(sys, "stderr", said)
    return hindsight.main(), told.getvalue(), said.getvalue()


def test_it_is_a_program_of_its_own(
    planted: Planted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, told, _ = run(monkeypatch, planted.question())
    assert (code, msgspec.json.decode(told, type=Answer)) == (0, work_out(planted.question()))
    none = planted.question(audit=str(tmp_path / "none.db"))
    code, told, said = run(monkeypatch, none)
    assert (code, told) == (hindsight.CANNOT, b"")
    assert said
    with pytest.raises(sqlite3.Error):
        work_out(none)
