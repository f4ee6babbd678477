"""`/api/v1/rules/{id}/backtest`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.api import backtests
from airlock.api.backtests import BacktestsApi
from airlock.core.errors import Fault, Rejected
from airlock.incident.detect.backtest import Backtest
from airlock.incident.detect.memory import HOUR
from tests.api.doors import ADMIN, request
from tests.audit.conftest import Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    made = Log(tmp_path / "data")
    made.clock.now -= HOUR
    made.fill(25, decision="deny", reason="policy_denied", phase="single")
    made.project()
    made.release()
    made.clock.forward(HOUR)
    return made


def ask(api: BacktestsApi, rule: str, body: object = None) -> Backtest:
    asked = request(
        "POST", f"/api/v1/rules/{rule}/backtest", {} if body is None else body, params={"id": rule}
    )
    return msgspec.json.decode(asyncio.run(api.backtest(asked, ADMIN)).body, type=Backtest)


def test_the_log_is_played_to_a_rule(log: Log) -> None:
    api = BacktestsApi(audit=log.path, clock=log.clock)
    found = ask(api, "MCP-001", {"since": "2h", "thresholds": {"count": 5}})
    assert (found.rows, found.alerts, found.thresholds["count"]) == (26, 3, 5)


@pytest.mark.parametrize(
    ("rule", "body", "status", "reason"),
    [
        ("MCP-999", {}, 404, "rule_unknown"),
        ("MCP-001", {"thresholds": {"speed": 1}}, 422, "threshold_unknown"),
        ("MCP-009", {"thresholds": {"speed": 1}}, 422, "threshold_unknown"),
        ("MCP-001", {"since": "soon"}, 422, "invalid_params"),
        ("MCP-001", {"from": "2h"}, 422, "invalid_params"),
    ],
)
def test_a_wrong_order_is_refused(
    tmp_path: Path, rule: str, body: dict[str, Any], status: int, reason: str
) -> None:
    api = BacktestsApi(audit=tmp_path / "audit.db", clock=Log(tmp_path).clock)
    with pytest.raises(Rejected) as refused:
        ask(api, rule, body)
    assert (refused.value.http, refused.value.reason) == (status, reason)


def test_a_log_that_is_not_there_is_said(tmp_path: Path) -> None:
    api = BacktestsApi(audit=tmp_path / "audit.db", clock=Log(tmp_path).clock)
    with pytest.raises(Fault) as failed:
        ask(api, "MCP-001")
    assert failed.value.reason == "backtest_failed"
    assert "unable to open" in failed.value.detail


def test_one_runs_at_a_time_and_none_for_ever(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtests, "PATIENCE", 0.0)
    api = BacktestsApi(audit=log.path, clock=log.clock)
    asked = request("POST", "/api/v1/rules/MCP-001/backtest", {}, params={"id": "MCP-001"})

    async def both() -> tuple[object, object]:
        one, two = api.backtest(asked, ADMIN), api.backtest(asked, ADMIN)
        return await asyncio.gather(one, two, return_exceptions=True)

    late, busy = asyncio.run(both())
    assert isinstance(late, Fault)
    assert "no answer" in late.detail
    assert isinstance(busy, Rejected)
    assert (busy.http, busy.reason) == (409, "backtest_running")
