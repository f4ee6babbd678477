"""The trial in a child: what crashes, hangs or crawls is refused, and the caller lives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from airlock.policy import trial
from airlock.policy.bundle import Bundle
from airlock.policy.check import check_bundle
from airlock.policy.problem import PolicyRejected
from tests.policy.policies import SHIPPED, bundle, shipped

CRAWLING = """
allow if count([1 | some a in input.arguments.x; some b in input.arguments.x; a == b]) == 0
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_passes_well_within_the_limits(name: str) -> None:
    verdict = check_bundle(shipped(name))
    assert verdict.findings == verdict.warnings == ()
    assert verdict.runs > 1000
    assert 0 < verdict.p99_ms <= trial.P99_LIMIT_MS


def test_a_policy_that_keeps_the_parser_busy_for_hours_is_refused() -> None:
    with pytest.raises(PolicyRejected, match="did not end within 1 s"):
        check_bundle(bundle("allow := " + "[" * 40 + "]" * 40), limit_s=1)


def test_brackets_may_be_nested_as_deep_as_the_engine_takes_them() -> None:
    deep = "allow if {" + "\n(" * 30 + "1" + ")" * 30 + "}"
    assert check_bundle(bundle(deep)).runs
    with pytest.raises(PolicyRejected, match="nesting too deep"):
        check_bundle(bundle(deep.replace("\n(", "\n((").replace(")", "))")))


def test_a_crash_of_the_child_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -SEGV $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(PolicyRejected, match=r"crashed on this policy \(signal 11\)"):
        check_bundle(bundle("allow := true"))


def test_a_failure_of_the_child_is_a_finding() -> None:
    broken = Bundle(files={"a.rego": b""}, revision="0" * 64, origin="t")
    with pytest.raises(PolicyRejected, match=r"the trial failed: .*does not match its revision"):
        check_bundle(broken)


def test_a_policy_that_crawls_on_a_large_argument_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LARGE", 2048)
    monkeypatch.setattr(trial, "REPEAT", 1)
    verdict = trial.judge(bundle(CRAWLING))
    assert [found.file for found in verdict.findings] == ["test"]
    assert "too slow: p99" in verdict.findings[0].message


def test_a_policy_that_does_not_compile_gets_a_verdict_with_the_place() -> None:
    verdict = trial.judge(bundle("allow if {"))
    assert [str(found) for found in verdict.findings] == ["a.rego:2:11: expecting expression"]


def test_the_worst_questions_fill_every_argument_that_the_policy_names() -> None:
    policy = bundle('import input.arguments.x as y\nallow if { input.arguments.a; input.arguments["b"]; y }')
    assert trial.argument_names(policy) == ["a", "b"]
    assert trial.argument_names(bundle("allow := true")) == ["value"]


def test_a_fault_during_the_trial_is_an_answer() -> None:
    verdict = trial.judge(bundle("decision := upper(input.arguments.x)"))
    assert (verdict.findings, verdict.runs > 1000) == ((), True)
