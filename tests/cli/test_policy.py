"""`airlock policy`: what it prints and with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli.policy import app
from airlock.policy.bundle import load_bundle
from tests.cli.admin_api import Answer, gateway

ALLOW = 'decision := {"allow": input.target.read_only, "reason": "by_class", "rule": "r"}\n'
TEST = b'package t\ntest_a if data.airlock.decision.allow with input as {"target": {"read_only": true}}\n'


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A small policy with a passing test; `a.rego` is there to be rewritten."""
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "a.rego").write_text(f"package airlock\n{ALLOW}")
    (folder / "a_test.rego").write_bytes(TEST)
    return folder


@pytest.fixture
def config(tmp_path: Path, policy: Path) -> Path:
    """A configuration with that policy, and a port where nothing listens."""
    return configure(tmp_path, policy, port=1)


def configure(folder: Path, policy: Path, *, port: int) -> Path:
    file = folder / "airlock.yaml"
    text = f"data_dir: {folder}/data\npolicy: {{path: {policy}}}\nserver: {{port: {port}}}\n"
    file.write_text(text)
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: object) -> dict[str, Any]:
    return json.loads(run(*arguments, "--json").stdout)


def test_check_of_a_good_policy_ends_with_0(policy: Path) -> None:
    result = run("check", policy)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{policy}: fine, revision {load_bundle(policy).revision[:12]}")
    found = answer("check", policy)
    assert (found["usable"], found["problems"], found["warnings"]) == (True, [], [])
    assert 0 < found["p99_ms"] <= found["max_ms"]


def test_check_without_a_path_takes_the_configured_policy(config: Path, policy: Path) -> None:
    assert answer("check", "--config", config)["origin"] == str(policy)


def test_check_of_a_bad_policy_ends_with_1_and_every_place(policy: Path) -> None:
    (policy / "a.rego").write_text("package airlock\nallow if http.send({})\nx if io.jwt.decode(1)\n")
    result = run("check", policy)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "refused: a.rego:2:19: function http.send is not available to policies",
        "refused: a.rego:3:19: function io.jwt.decode is not available to policies",
    ]
    assert [found["line"] for found in answer("check", policy)["problems"]] == [2, 3]


def test_check_prints_warnings(policy: Path) -> None:
    (policy / "a_test.rego").unlink()
    result = run("check", policy)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"warning: {policy}: the bundle has no tests\n")


def test_check_of_nothing_ends_with_2(tmp_path: Path) -> None:
    result = run("check", tmp_path / "missing")
    assert result.exit_code == 2
    assert result.stderr.endswith("missing: is neither a directory nor a file (policy.path)\n")


def test_a_configuration_that_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    assert run("check", "--config", tmp_path / "missing.yaml").exit_code == 2


def test_test_of_a_tested_policy_ends_with_0(policy: Path) -> None:
    result = run("test", policy)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["ok     a_test.rego:2 data.t.test_a", "1 tests, 0 failed"]
    assert answer("test", policy)["passed"] is True


def test_test_with_a_failure_ends_with_1(policy: Path) -> None:
    (policy / "a_test.rego").write_text("package t\ntest_a := false\n")
    result = run("test", policy)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["FAILED a_test.rego:2 data.t.test_a: is false", "1 tests, 1 failed"]


def test_test_without_tests_ends_with_1(policy: Path) -> None:
    (policy / "a_test.rego").unlink()
    result = run("test", policy)
    assert (result.exit_code, result.stdout) == (1, "no tests: that is a failure\n")


def test_test_of_a_policy_that_would_crash_is_refused_first(policy: Path) -> None:
    (policy / "a.rego").write_text("package airlock\nallow := f(1)\nf(x) := f(x)\n")
    result = run("test", policy)
    assert result.exit_code == 1
    assert "refused: a.rego:3:1: recursion: airlock.f -> airlock.f" in result.stderr


EXPLAINED = {
    '{"subject": {"roles": ["viewer"]}}': (0, "allow: role_viewer"),
    "{}": (1, "deny: role_missing"),
    '{"subject": {"roles": ["developer"]}, "target": {"sensitivity": "high"}}': (
        4,
        "approval: approval_required",
    ),
}


@pytest.mark.parametrize("asked", EXPLAINED)
def test_explain_ends_with_the_outcome(tmp_path: Path, asked: str) -> None:
    question = tmp_path / "question.json"
    question.write_text(asked)
    result = run("explain", "--input", question)
    code, first = EXPLAINED[asked]
    assert result.exit_code == code
    assert result.stdout.splitlines()[0] == first


def test_explain_shows_the_rule_what_it_saw_and_a_change(tmp_path: Path) -> None:
    question = tmp_path / "question.json"
    question.write_text("{}")
    lines = run("explain", "--input", question).stdout.splitlines()
    assert lines[1] == "rule: starter.default"
    assert '  input.subject.tenant = "acme"   starter.rego:41' in lines
    assert lines[-1] == 'with input.subject.roles = ["admin"] the answer is allow: role_admin'
    assert answer("explain", "--input", question)["flip"]["outcome"] == "allow"


def test_explain_of_a_fault_ends_with_3(tmp_path: Path, policy: Path) -> None:
    (policy / "a.rego").write_text("package airlock\nallow := upper(input.action)\n")
    question = tmp_path / "question.json"
    question.write_text("{}")
    result = run("explain", "--input", question, policy)
    assert result.exit_code == 3
    assert "detail: data.airlock.allow is no boolean" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("no single change")


@pytest.mark.parametrize("asked", ["", "[]", '{"subject": {"name": "x"}}', '{"phase": "dance"}'])
def test_explain_of_what_is_no_question_ends_with_2(tmp_path: Path, asked: str) -> None:
    question = tmp_path / "question.json"
    question.write_text(asked)
    assert run("explain", "--input", question).exit_code == 2
    assert run("explain", "--input", tmp_path / "missing.json").exit_code == 2


def test_show_prints_the_starter_policy() -> None:
    result = run("show")
    assert result.exit_code == 0
    assert "# starter.rego\n" in result.stdout
    assert set(answer("show")["files"]) == {"starter.rego", "starter.decisions.jsonl"}


def test_show_prints_the_source_as_it_stands_and_says_whether_it_may_be_used(policy: Path) -> None:
    shown = run("show", policy, "--source")
    files = [policy / "a.rego", policy / "a_test.rego"]
    assert (shown.exit_code, shown.stdout) == (0, "".join(file.read_text() for file in files))
    files[0].write_text("package airlock\nallow if {\n")
    shown = run("show", policy, "--source")
    assert shown.exit_code == 1
    assert shown.stdout.startswith("package airlock\nallow if {\n")
    assert shown.stderr.startswith("refused: a.rego:")


def test_status_without_a_gateway_is_that_of_the_files(config: Path, policy: Path) -> None:
    result = run("status", "--config", config)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"configured: {policy}, revision {load_bundle(policy).revision}",
        "cacheable: reads input.target.read_only",
        "running: no gateway answers",
    ]
    found = answer("status", "--config", config)
    assert (found["usable"], found["running"], found["in_force"]) == (True, None, False)


def test_check_and_status_say_why_decisions_are_not_cached(config: Path, policy: Path) -> None:
    (policy / "a.rego").write_text("package airlock\nallow if input.arguments[input.action]\n")
    doubt = "a.rego:2:25: a computed key: which part of `input` is read cannot be told before"
    assert f"not cacheable: {doubt}" in run("check", "--config", config).stdout.splitlines()
    found = answer("status", "--config", config)["cache"]
    assert (found["cacheable"], found["reads"], found["doubts"][0]["line"]) == (False, [], 2)


def test_status_says_how_decisions_are_cached(config: Path) -> None:
    found = answer("status", "--config", config)["cache"]
    assert found == {
        "cacheable": True,
        "reads": ["input.target.read_only"],
        "doubts": [],
        "ttl_s": 300.0,
        "size": 10_000,
    }
    config.write_text(config.read_text().replace("policy: {", "policy: {cacheTTL: 0, "))
    lines = run("status", "--config", config).stdout.splitlines()
    assert "the decision cache is off: policy.cache_ttl is 0" in lines


def test_status_says_what_is_not_enforced(config: Path) -> None:
    config.write_text(config.read_text() + "observe: {tenants: [acme], until: 2026-01-01T00:00Z}\n")
    said = "observing ended at 2026-01-01T00:00:00Z: everything is enforced"
    assert run("status", "--config", config).stdout.splitlines()[-1] == said
    assert answer("status", "--config", config)["observing"] == said


def test_status_of_files_that_are_refused_ends_with_1(config: Path, policy: Path) -> None:
    (policy / "a.rego").write_text("package airlock\n")
    result = run("status", "--config", config)
    assert result.exit_code == 1
    assert "refused: a.rego:1:1: package airlock defines neither" in result.stdout


def running(revision: str) -> dict[str, Any]:
    """What a gateway of one worker says."""
    cache = {"state": "impossible", "why": ["a.rego:3:1: it looks"]}
    return {
        "rolled_back": None,
        "desired_sha256": revision,
        "replicas": [{"slot": 0, "active_sha256": revision, "cache": cache, "silent": False}],
        "last_error": None,
    }


def test_status_with_a_gateway_tells_what_it_runs(tmp_path: Path, policy: Path) -> None:
    with gateway(Answer(running(load_bundle(policy).revision))) as server:
        config = configure(tmp_path, policy, port=server.port)
        result = run("status", "--config", config, "--token", "secret")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-2:] == [
            f"running: wanted {load_bundle(policy).revision}",
            f"worker 0: {load_bundle(policy).revision}, decision cache impossible: a.rego:3:1: it looks",
        ]
        assert answer("status", "--config", config)["in_force"] is True
    assert server.requests[0] == ("/admin/policy/status", "Bearer secret")


def test_status_with_a_gateway_of_another_revision_ends_with_1(tmp_path: Path, policy: Path) -> None:
    answer = running(load_bundle(policy).revision)
    answer["replicas"].append(None)
    answer["last_error"] = {"what": "a.rego:7: no such rule"}
    with gateway(Answer(answer)) as server:
        result = run("status", "--config", configure(tmp_path, policy, port=server.port))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-3:] == [
        "worker 1: no answer",
        "the last reload was refused: a.rego:7: no such rule",
        "not every worker decides by the configured policy",
    ]


def test_status_with_a_silent_worker_ends_with_1(tmp_path: Path, policy: Path) -> None:
    answer = running(load_bundle(policy).revision)
    answer["replicas"][0]["silent"] = True
    with gateway(Answer(answer)) as server:
        result = run("status", "--config", configure(tmp_path, policy, port=server.port))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-2].startswith("worker 0: silent, last said ")


def test_status_with_a_gateway_that_refuses_ends_with_2(tmp_path: Path, policy: Path) -> None:
    with gateway(Answer({}, status=401)) as server:
        result = run("status", "--config", configure(tmp_path, policy, port=server.port))
    assert result.exit_code == 2
    assert "answered 401 Unauthorized (give a token of an admin with --token)" in result.stderr
