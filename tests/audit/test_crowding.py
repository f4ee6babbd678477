"""Whom a rate would have refused something: counted by period in what was recorded."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airlock.audit.crowding import LOOKED_AT, Hit, hit
from airlock.core.clock import timestamp
from airlock.core.units import rate
from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.audit.conftest import Log

OFFICE = "203.0.113.7"
INTENT: dict[str, Any] = {"phase": "intent"}
OUTCOME: dict[str, Any] = {"phase": "outcome", "decision": "allow"}


def calls(log: Log, rows: int, who: str, where: str) -> None:
    """That many calls, each with its intent and its outcome."""
    for n in range(rows):
        for said in INTENT, OUTCOME:
            log.append(
                Event(
                    **said,
                    event_type="call",
                    action="tool_call",
                    request_id=f"{who}{where}{n}",
                    tenant="acme",
                    occurred_at=timestamp(log.clock.wall()),
                    personal=Personal(subject=who, source_ip=where),
                )
            )


@pytest.fixture
def office(new_log: Callable[..., Log]) -> Log:
    """Two people behind one address, and one alone; what is older than an hour counts for nothing."""
    log = new_log()
    log.clock.now -= log.clock.now % 86400 - 43_200
    calls(log, 9, "carol", "198.51.100.1")
    log.clock.forward(LOOKED_AT + 60)
    calls(log, 4, "alice", OFFICE)
    calls(log, 3, "bob", OFFICE)
    calls(log, 2, "carol", "198.51.100.1")
    log.append(Event(event_type="system", action="chain_open"))
    log.project()
    return log


@pytest.mark.parametrize(
    ("kind", "limit", "found"),
    [
        ("per_token", "4/min", Hit(callers=0, addresses=0, shared=0, behind=0, of=3)),
        ("per_token", "3/min", Hit(callers=1, addresses=1, shared=1, behind=2, of=3)),
        ("per_token", "1/h", Hit(callers=3, addresses=2, shared=1, behind=2, of=3)),
        ("per_ip", "6/min", Hit(callers=2, addresses=1, shared=1, behind=2, of=2)),
        ("per_ip", "7/min", Hit(callers=0, addresses=0, shared=0, behind=0, of=2)),
        ("per_tenant", "8/d", Hit(callers=3, addresses=2, shared=1, behind=2, of=1)),
    ],
)
def test_who_asked_for_more_would_have_been_hit(office: Log, kind: str, limit: str, found: Hit) -> None:
    assert hit(office.path, kind=kind, rate=rate(limit), now=office.clock.wall()) == found


def test_without_a_log_nothing_can_be_said(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        hit(tmp_path / "audit.db", kind="per_ip", rate=rate("1/s"), now=0.0)
