from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from airlock.cli.check import Report, check

GOOD = 'package airlock\n\ndefault allow := false\n\nallow if input.subject.roles[_] == "admin"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "airlock.yaml"


def run(file: Path, text: str, *more: str) -> Result:
    file.write_text(text)
    return invoke("--config", str(file), *more)


def invoke(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, arguments)


def lines(result: Result, file: Path) -> list[str]:
    return result.stdout.replace(str(file.parent) + "/", "").splitlines()


def policy(file: Path, text: str) -> str:
    folder = file.parent / "rules"
    folder.mkdir()
    (folder / "main.rego").write_text(text)
    return "policy: {path: rules}\n"


def test_the_defaults_with_the_starter_policy_are_fine(file: Path) -> None:
    result = run(file, "{}")
    assert (result.exit_code, lines(result, file)[-1][:22]) == (0, "airlock.yaml: fine (co")


def test_every_problem_is_printed_with_its_line_and_the_way_out(file: Path) -> None:
    result = run(file, "server:\n  prot: 1\n  workers: 0\n")
    assert (result.exit_code, lines(result, file)) == (
        1,
        [
            "airlock.yaml:2: server.prot: unknown key (did you mean port?)",
            "airlock.yaml:3: server.workers: found `0` (expected a whole number, at least 1, at most 64)",
            "airlock.yaml: refused, 2 problems",
        ],
    )


def test_a_policy_that_does_not_compile_is_refused_with_its_line(file: Path) -> None:
    result = run(file, policy(file, "package airlock\n\nallow if {\n"))
    assert result.exit_code == 1
    assert any(line.startswith("main.rego:") for line in lines(result, file))


def test_a_policy_folder_without_rules_is_refused(file: Path) -> None:
    (file.parent / "rules").mkdir()
    result = run(file, "policy: {path: rules}")
    assert (result.exit_code, lines(result, file)[0]) == (
        1,
        "rules: holds no .rego file, so nothing would ever be allowed",
    )


def test_a_policy_without_tests_draws_a_warning_and_passes(file: Path) -> None:
    result = run(file, policy(file, GOOD))
    assert result.exit_code == 0
    assert lines(result, file)[0].startswith("warning: ")


def test_what_is_not_enforced_draws_a_warning(file: Path) -> None:
    result = run(file, "observe: {tenants: [acme], until: 2026-01-01T00:00Z}\n")
    assert result.exit_code == 0
    expected = "warning: airlock.yaml:1: observing ended at 2026-01-01T00:00:00Z: everything is enforced"
    assert lines(result, file)[0] == expected


def test_what_would_never_be_ready_is_refused(file: Path) -> None:
    result = run(file, "server: {host: 192.0.2.1}\nauth:\n  local_issuer: true\n")
    assert (result.exit_code, lines(result, file)) == (
        1,
        [
            "airlock.yaml:3: auth.local_issuer: not ready (weak_key): demo tokens must not count where "
            "others can reach the port "
            "(set auth.local_issuer to false, or server.host to a loopback address)",
            "airlock.yaml: refused, 1 problem",
        ],
    )


def test_json_says_the_same(file: Path) -> None:
    result = run(file, "server: {prot: 1}", "--json")
    report = msgspec.json.decode(result.stdout, type=Report)
    assert (result.exit_code, report.ok) == (1, False)
    assert [(part.where, part.what, part.hint) for part in report.problems] == [
        (f"{file}:1", "server.prot: unknown key", "did you mean port?")
    ]


def test_json_names_what_would_be_in_force(file: Path) -> None:
    report = msgspec.json.decode(run(file, "{}", "--json").stdout, type=Report)
    assert (report.ok, len(report.digest), len(report.policy_revision)) == (True, 64, 64)


def test_a_file_that_is_not_there_could_not_be_checked(file: Path) -> None:
    assert invoke("--config", str(file)).exit_code == 2


def test_without_a_file_the_usage_is_printed() -> None:
    assert invoke().exit_code == 2
