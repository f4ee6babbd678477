"""What a run comes to, what once passed, and the page that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import pairs, report
from tests.conformance.pairs import BASELINE, BY_SPECIFICATION, LL, ML, Run, baseline, line
from tests.conformance.suite import REVISIONS, Check, Scenario, scored

GOOD = Check(id="ok", status="SUCCESS")
BAD = Check(id="must-not", status="FAILURE", error_message="a | b")
WARNED = Check(id="should", status="WARNING", error_message="hm")


def all_of(revision: str, *, bad: dict[str, tuple[Check, ...]]) -> tuple[Scenario, ...]:
    return tuple(Scenario(name, bad.get(name, (GOOD,))) for name in scored(revision, "server"))


def test_the_pinned_suite_scores_what_the_targets_count() -> None:
    counts = {
        revision: (len(scored(revision, "server")), len(scored(revision, "client"))) for revision in REVISIONS
    }
    assert counts == {"2025-11-25": (30, 18), "2026-07-28": (37, 32)}


@pytest.mark.parametrize(
    ("checks", "passed"),
    [((GOOD,), True), ((GOOD, WARNED), True), ((GOOD, BAD), False), ((), False)],
)
def test_a_scenario_passes_as_the_suite_counts(checks: tuple[Check, ...], passed: bool) -> None:
    assert Scenario("x", checks).passed is passed


def test_a_run_knows_what_it_missed_and_why() -> None:
    scenarios = [each for each in all_of(LL.revision, bad={"ping": (GOOD, BAD)}) if each.name != "tools-list"]
    run = Run(LL, "http", tuple(scenarios))
    assert run.missed == ("ping", "tools-list")
    assert [run.why(name) for name in run.missed] == ["must-not: a | b", "was not reached in time"]
    assert (run.target, run.is_met) == (30, False)


def test_only_what_the_specification_explains_may_be_missed() -> None:
    excused = Run(ML, "http", all_of(ML.revision, bad=dict.fromkeys(baseline(), (BAD,))))
    assert (len(excused.passed), excused.target, excused.is_met) == (35, 35, True)
    same = Run(LL, "http", all_of(LL.revision, bad={"ping": (BAD,)}))
    assert not same.is_met


def test_every_entry_of_the_baseline_is_explained() -> None:
    assert set(BY_SPECIFICATION) == baseline()
    assert "legacy" in BASELINE.read_text()


def test_what_once_passed_is_lost_when_its_pair_ran_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "PASSED", tmp_path / "passed.txt")
    run = Run(LL, "http", all_of(LL.revision, bad={"tools-list": (BAD,)}))
    pairs.remember([run])
    assert line(LL, "http", "ping") in pairs.once_passed()
    worse = Run(LL, "http", all_of(LL.revision, bad={"ping": (BAD,), "tools-list": (BAD,)}))
    assert pairs.lost([worse]) == ["LL http 2025-11-25 ping"]
    assert pairs.lost([Run(LL, "stdio", ())]) == []
    pairs.remember([worse])
    assert pairs.lost([worse]) == ["LL http 2025-11-25 ping"]


def test_the_page_names_every_miss_with_its_reason() -> None:
    run = Run(ML, "http", all_of(ML.revision, bad={"caching": (BAD,), **dict.fromkeys(baseline(), (BAD,))}))
    client = report.ClientRun(
        "2026-07-28", ("tools_call", "auth/iss-unexpected"), (Scenario("tools_call", (GOOD,)),)
    )
    found = report.Found(control=(), runs=(run,), crosscheck=(Scenario("ping", (BAD,)),), clients=(client,))
    text = report.page(found, node="v22", date="today")
    assert "| ML | 2026-07-28 | http | 34 of 37 | 35 | 3 |" in text
    assert "| ML | http | `caching` | must-not: a &#124; b |" in text
    assert "| demands the key user_name;" in text
    assert "| 2026-07-28 | `auth/iss-unexpected` | was not reached in time |" in text
    assert not found.is_met


def test_a_client_scenario_with_a_warning_is_missed() -> None:
    run = report.ClientRun("2025-11-25", ("tools_call",), (Scenario("tools_call", (GOOD, WARNED)),))
    assert run.passed == ()
