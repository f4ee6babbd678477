"""Honest days: how often rules err, and that nobody is contained wrongly without a person."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise

import pytest

from airlock.incident.detect import answers
from airlock.model.proposal import Order
from bench.alarms import Outcome, judge, main, report
from bench.days import Days


@cache
def month() -> Outcome:
    """Thirty days of a few people with all that goes wrong on honest days."""
    return judge(Days(seed=1, people=24, calls=30), 30)


def test_nobody_is_contained_wrongly_in_thirty_honest_days() -> None:
    assert month().contained == []


def test_the_month_was_no_quiet_one() -> None:
    assert month().rows > 12_000
    assert {"MCP-002", "MCP-003", "MCP-026", "MCP-001"} <= set(month().alarms)
    assert month().proposed["MCP-002"] > 0


def test_false_alarms_stay_few() -> None:
    of_windows = ("MCP-004", "MCP-007", "MCP-008", "MCP-011", "MCP-012", "MCP-014", "MCP-015", "MCP-016",
                  "MCP-017", "MCP-022", "MCP-023", "MCP-025", "MCP-028")  # fmt: skip
    assert sum(month().alarms[rule] for rule in of_windows) / 30 <= 1.5


def test_without_what_protects_the_honest_they_would_be_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    def harmless(order: Order, footing: answers.Footing) -> list[str]:
        del order, footing
        return []

    monkeypatch.setattr(answers, "_harm", harmless)
    outcome = judge(Days(seed=1, people=24, calls=10), 3)
    assert any(each.startswith("MCP-002 ip.block") for each in outcome.contained)


def test_a_day_at_scale_is_judged_in_order() -> None:
    rows = list(Days(seed=2, people=300).day(4))
    assert len(rows) > 15_000
    assert all(one.at <= other.at for one, other in pairwise(rows))
    assert Counter(row.id for row in rows).most_common(1)[0][1] == 1


def test_the_same_number_makes_the_same_day() -> None:
    assert list(Days(seed=3, people=5).day(0)) == list(Days(seed=3, people=5).day(0))


def test_the_figures_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["alarms", "--days", "2", "--people", "15", "--calls", "5"])
    main()
    told = capsys.readouterr().out
    assert "rows of 2 days" in told
    assert "wrongly contained without a person: 0" in told
    some = Outcome(days=1, contained=["MCP-002 ip.block {}"])
    assert report(some).endswith("wrongly contained without a person: 1\n  MCP-002 ip.block {}")


def test_one_pass_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["alarms", "--window", "1000"])
    main()
    assert capsys.readouterr().out.startswith("1000 rows: taken in ")
