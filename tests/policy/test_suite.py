"""A bundle's own tests: what passes, what fails, and that none is a failure."""

from __future__ import annotations

import pytest

from airlock.policy.bundle import Bundle
from airlock.policy.suite import Results, run_tests
from tests.policy.policies import SHIPPED, shipped

POLICY = b"""package airlock
decision := {"allow": input.target.read_only, "reason": "by_class", "obligations": {"redact": ["email"]}}
"""


def run(tests: str = "", golden: str = "", policy: bytes = POLICY) -> Results:
    files = {"p.rego": policy}
    if tests:
        files["p_test.rego"] = f"package airlock_test\n{tests}".encode()
    if golden:
        files["p.decisions.jsonl"] = golden.encode()
    return run_tests(Bundle.of(files, origin="t"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_passes_its_tests(name: str) -> None:
    results = run_tests(shipped(name))
    assert [test for test in results.tests if not test.passed] == []
    assert len(results.tests) >= 15
    assert results.passed


def test_no_tests_is_a_failure() -> None:
    assert run().tests == ()
    assert not run().passed
    assert not run(tests="not_a_test := true").passed


RULES = {
    'test_a if data.airlock.decision.allow with input as {"target": {"read_only": true}}': "",
    "test_a := true": "",
    "test_a if 1 == 2": 'is "<undefined>"',
    "test_a := false": "is false",
    'test_a := "true"': 'is "true"',
    "test_a := 1": "is 1",
    'test_a if { print("seen", 7); 1 == 2 }': 'is "<undefined>", printed: p_test.rego:2: seen 7',
    'test_a if upper(1) == "A"': "p_test.rego:2:17: `upper` expects string argument. Got `1` instead",
    "test_a if 1 == 1\ntest_a if 2 == 1": "",
}


@pytest.mark.parametrize("tests", RULES)
def test_a_rule_passes_only_when_it_is_true(tests: str) -> None:
    (result,) = run(tests=tests).tests
    assert (result.name, result.file, result.line) == ("data.airlock_test.test_a", "p_test.rego", 2)
    assert (result.passed, result.detail) == (not RULES[tests], RULES[tests])


GOLDEN = {
    '{"name": "n", "input": {}, "decision": {"allow": true, "reason": "by_class"}}': "",
    '{"name": "n", "input": {}, "decision": {"obligations": {"redact": ["email"]}}}': "",
    '{"name": "n", "input": {"target": {"read_only": false}}, "decision": {"allow": true}}': (
        "allow is false, expected true"
    ),
    '{"name": "n", "input": {}, "decision": {"allow": 1}}': "allow is true, expected 1",
    '{"name": "n", "input": {}, "decision": {"approval": {"by": [1]}}}': "approval.by is null, expected [1]",
    '{"name": "n", "input": {}, "fault": "policy_error"}': "expected policy_error, got by_class",
    '{"name": "n", "input": {}}': "needs exactly one of `decision` and `fault`",
    '{"name": "n", "input": {}, "decision": {}, "fault": "x"}': "needs exactly one of `decision` and `fault`",
}


@pytest.mark.parametrize("line", GOLDEN)
def test_a_golden_decision_is_compared_in_what_it_gives(line: str) -> None:
    (result,) = run(golden=f"\n{line}\n").tests
    assert (result.name, result.line, result.detail) == ("n", 2, GOLDEN[line])
    assert result.passed == (not GOLDEN[line])


UNREADABLE = {
    "{": "Input data was truncated",
    '{"name": "n", "input": {}, "decison": {}}': "unknown field",
    '{"name": "n", "input": {"subject": {"role": []}}, "decision": {}}': "input.subject.role is no key",
    '{"name": "n", "input": {"target": {"read_only": "yes"}}, "decision": {}}': "Expected `bool`",
    '{"name": "n", "input": {"subject": []}, "decision": {}}': "Expected `object`",
}


@pytest.mark.parametrize("line", UNREADABLE)
def test_a_line_that_cannot_be_read_fails(line: str) -> None:
    (result,) = run(golden=line).tests
    assert not result.passed
    assert UNREADABLE[line] in result.detail


def test_a_fault_can_be_what_is_expected() -> None:
    policy = b"package airlock\ndecision := 1"
    assert run(golden='{"name": "n", "input": {}, "fault": "policy_invalid"}', policy=policy).passed
    (result,) = run(golden='{"name": "n", "input": {}, "decision": {"allow": false}}', policy=policy).tests
    assert result.detail.startswith("policy_invalid: data.airlock.decision")
