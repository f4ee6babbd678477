"""`airlock logs`: which lines it prints, in which order, and what it says of those that are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import program
from airlock.core.clock import SYSTEM, log_time

EVENTS = ("lifecycle", "slow_request", "upstream_timeout", "slow_request")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory in which two workers kept lines, a minute apart, the newest a minute ago."""
    kept = tmp_path / "data" / "logs"
    kept.mkdir(parents=True)
    for number, event in enumerate(EVENTS):
        told: dict[str, Any] = {
            "timestamp": log_time(SYSTEM.wall() - 60 * (len(EVENTS) - number)),
            "level": "info",
            "event": event,
            "n": number,
            "process": "its own",
        }
        told |= {"duration_ms": 2000.0 - number} if event == "slow_request" else {}
        with (kept / f"worker-{number % 2}.00000001.jsonl").open("a") as file:
            file.write(json.dumps(told, separators=(",", ":")) + "\n")
    (tmp_path / "airlock.yaml").write_text("data_dir: data\n")
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(program(), ["logs", "--config", str(folder / "airlock.yaml"), *arguments])


def numbers(folder: Path, *arguments: str) -> list[int]:
    result = run(folder, *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["n"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), [0, 1, 2, 3]),
        (("--all-replicas",), [0, 1, 2, 3]),
        (("--event", "slow_request"), [1, 3]),
        (("--event", "slow_request,upstream_timeout"), [1, 2, 3]),
        (("--last", "2"), [2, 3]),
        (("--event", "slow_request", "--last", "1"), [3]),
        (("--slowest", "5"), [1, 3]),
        (("--slowest", "1", "--since", "1h"), [1]),
        (("--since", "150s"), [2, 3]),
        (("--since", "2020-01-01"), [0, 1, 2, 3]),
    ],
)
def test_what_is_asked_for_is_printed(folder: Path, arguments: tuple[str, ...], expected: list[int]) -> None:
    assert numbers(folder, *arguments) == expected


def test_a_line_says_who_wrote_it_and_is_otherwise_as_it_was(folder: Path) -> None:
    line = json.loads(run(folder, "--last", "1").stdout)
    assert (line["replica"], line["process"], line["event"]) == ("worker-1", "its own", "slow_request")


def test_json_is_one_object(folder: Path) -> None:
    found = json.loads(run(folder, "--last", "2", "--json").stdout)
    assert ([line["n"] for line in found["lines"]], found["gaps"]) == ([2, 3], [])


def test_what_is_missing_is_said_and_makes_the_answer_unproven(folder: Path) -> None:
    with (folder / "data/logs/worker-0.00000001.jsonl").open("a") as file:
        file.write("scribble\n")
    result = run(folder)
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == len(EVENTS)
    assert result.stderr == "airlock logs: 1 lines cannot be read\n"
    assert json.loads(run(folder, "--json").stdout)["gaps"] == ["1 lines cannot be read"]


@pytest.mark.parametrize(
    "arguments", [("--last", "0"), ("--last", "1", "--slowest", "1"), ("--since", "yesterday")]
)
def test_wrong_usage_ends_with_2(folder: Path, arguments: tuple[str, ...]) -> None:
    assert run(folder, *arguments).exit_code == 2


def test_where_nothing_was_kept_it_could_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "airlock.yaml").write_text("data_dir: elsewhere\n")
    result = run(folder)
    assert result.exit_code == 2
    assert "no gateway has kept lines there" in result.stderr


def test_a_configuration_that_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    assert run(tmp_path).exit_code == 2
