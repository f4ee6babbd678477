"""`airlock drill` as a client: what it asks, what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import drill, program
from airlock.cli.api import Answer
from airlock.cli.containment import Containing


def line(id: str, state: str, *, drill: str = "d-1", **more: Any) -> dict[str, Any]:
    last = {
        "id": drill, "state": state, "problem": more.pop("problem", ""), "detect": 0.0, "contain": 0.1234,
        "evidence": None, "steps": [
            {"name": "detect", "result": "done", "detail": "P1"},
            {"name": "owner", "result": "not drilled", "detail": "it is manual\x1b[31m"},
        ],
    }  # fmt: skip
    told = {"id": id, "kind": "rule", "title": "T", "last_proven": None, "warning": "", "waiting": False}
    return told | {"last": last} | more


Ask = Callable[..., Result]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    def invoke(*words: str, card: list[dict[str, Any]], asked: tuple[str, ...] = ("MCP-002",)) -> Result:
        def answer(self: object, method: str, path: str, body: object = None) -> Answer:
            drills = card if method == "GET" else [{"subject": each, "id": "d-1"} for each in asked]
            return Answer(status=200, document={"drills": drills})

        monkeypatch.setattr(Containing, "ask", answer)
        return CliRunner().invoke(program(), ["drill", *words])

    monkeypatch.setattr(drill, "LOOK_EVERY", 0.01)
    return invoke


def test_the_scorecard_warns(ask: Ask) -> None:
    card = [
        line("MCP-001", "x", last=None, warning="never drilled", waiting=True),
        line("MCP-002", "passed", last_proven="2026-11-22T21:41:17Z"),
    ]
    done = ask("list", card=card)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "MCP-001  rule  proven never  waiting  WARNING: never drilled",
        "MCP-002  rule  proven 2026-11-22T21:41:17Z  passed  detect 0 s  contain 0.123 s",
    ]
    assert json.loads(ask("list", "--json", card=card).stdout) == {"drills": card}


def test_a_drill_that_passed_ends_well(ask: Ask) -> None:
    done = ask("run", "MCP-002", card=[line("MCP-001", "failed"), line("MCP-002", "passed")])
    assert done.exit_code == 0
    first, second = done.stdout.splitlines()
    assert first == "MCP-002  passed  detect 0 s  contain 0.123 s"
    assert second.startswith("  owner: not drilled: it is manual")
    assert "\x1b" not in second
    told = json.loads(ask("run", "--all", "--json", card=[line("MCP-002", "passed")]).stdout)
    assert [each["state"] for each in told["drills"]] == ["passed"]


def test_a_drill_that_failed_is_named(ask: Ask) -> None:
    done = ask("run", "MCP-002", card=[line("MCP-002", "failed", problem="detect: nothing")])
    assert (done.exit_code, done.stderr) == (1, "airlock drill: failed: MCP-002\n")
    assert "detect: nothing" in done.stdout


def test_one_that_is_not_over_in_time_proves_nothing(ask: Ask) -> None:
    done = ask("run", "MCP-002", "--wait", "0", card=[line("MCP-002", "passed", drill="an-older-one")])
    assert (done.exit_code, done.stderr) == (3, "airlock drill: 1 of 1 drills are not over\n")


@pytest.mark.parametrize("words", [("run",), ("run", "MCP-002", "--all")])
def test_it_takes_names_or_all(ask: Ask, words: tuple[str, ...]) -> None:
    assert ask(*words, card=[]).exit_code == 2
