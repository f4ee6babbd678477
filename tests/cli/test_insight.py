"""`airlock cache stats`, `debug heap`, `status --latency`, `--revisions`: what they make of the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import program
from tests.cli.admin_api import Answer, gateway

ACKED = {"replicas_acked": 2, "replicas_total": 2}
ON: dict[str, Any] = {"state": "on", "why": [], "held": 3, "size": 9}
IMPOSSIBLE: dict[str, Any] = {"state": "impossible", "why": ["a.rego:7:3: it reads input[x]"], "held": 0}
ASKED = {"hits": 9, "misses": 1, "hit_rate": 0.9}
NOT_ASKED = {"hits": 0, "misses": 0, "hit_rate": None}
CACHES: dict[str, Any] = {
    **ACKED,
    "caches": {"tokens": {"5m": ASKED, "1h": NOT_ASKED}},
    "replicas": [{"tokens": ON}, {"tokens": IMPOSSIBLE}],
}


def took(p95: float) -> dict[str, float]:
    return {"count": 4, "p50_ms": 1.0, "p95_ms": p95, "p99_ms": 9.0}


def stages(request: float, upstream: float) -> dict[str, Any]:
    """What took so long in the last five minutes; nothing came in the last one."""
    windows = {"request": request, "auth": 0.5, "upstream": upstream}
    return {
        **ACKED,
        "stages": {
            stage: {"1m": {"count": 0}, "5m": took(p95), "1h": took(1.0)} for stage, p95 in windows.items()
        },
    }


def revisions(*active: str, **more: Any) -> dict[str, Any]:
    workers = [
        {
            "slot": slot,
            "silent": not digest,
            "active_sha256": digest and "a" * 64,
            "configuration_digest": digest,
        }
        for slot, digest in enumerate(active)
    ]
    policy = {"desired_sha256": "a" * 64, "rolled_back": None, "last_error": None, **more}
    return {
        "version": "1.2.3",
        "policy": policy,
        "configuration": {"desired_sha256": "c" * 64},
        "workers": workers,
    }


def heap(**worker: Any) -> dict[str, Any]:
    known = {
        "slot": 0, "answered": True, "pid": 7, "resident": 3 << 20, "traced_since": "2026-11-22T10:00:00Z",
        "traced": 1 << 20, "older": 2 << 20, **worker,
    }  # fmt: skip
    return {"acked": 1, "total": 1, "workers": [known], "top": [place(1 << 20)]}


def place(size: int, **more: str) -> dict[str, Any]:
    return {
        "function": "app.leak", "holder": "", "file": "/srv/app.py", "line": 12, "origin": "traced",
        "objects": 2, "bytes": size, **more,
    }  # fmt: skip


def run(folder: Path, *arguments: str, port: int, debug_port: int = 0) -> Result:
    config = folder / "airlock.yaml"
    server = f"{{port: {port}, debug_port: {debug_port}}}"
    config.write_text(f"data_dir: {folder}/data\nserver: {server}\n")
    token = [] if arguments[0] == "debug" else ["--token", "secret"]
    asked = [*arguments, "--config", str(config), *token]
    return CliRunner().invoke(program(), asked, env={"AIRLOCK_TOKEN": ""})


def told(folder: Path, answer: object, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines of a command that gets this answer, wherever it asks."""
    with gateway(Answer(answer)) as server:
        result = run(folder, *arguments, port=server.port, debug_port=server.port)
    return result.exit_code, result.stdout.splitlines()


def test_hit_rates_and_how_each_worker_stands(tmp_path: Path) -> None:
    assert told(tmp_path, CACHES, "cache", "stats") == (
        0,
        [
            "2/2 workers answered",
            "tokens: 90.0% of 10 hit in 5m, not asked in 1h",
            "  worker 0: on, holds 3 of 9",
            "  worker 1: impossible: a.rego:7:3: it reads input[x]",
        ],
    )


def test_a_worker_that_does_not_answer_makes_it_1(tmp_path: Path) -> None:
    answer = {**CACHES, "replicas_acked": 1, "replicas": [{"tokens": ON}, None]}
    code, lines = told(tmp_path, answer, "cache", "stats")
    assert (code, lines[0], lines[-1]) == (1, "1/2 workers answered", "  worker 1: no answer")


def test_the_same_for_programs(tmp_path: Path) -> None:
    code, lines = told(tmp_path, CACHES, "cache", "stats", "--json")
    assert (code, json.loads(lines[0])) == (0, CACHES)


@pytest.mark.parametrize("command", [("cache", "stats"), ("status", "--latency"), ("status", "--revisions")])
def test_who_cannot_ask_ends_with_3(tmp_path: Path, command: tuple[str, ...]) -> None:
    with gateway(Answer({}, status=403)) as server:
        port = server.port
        assert run(tmp_path, *command, port=port).exit_code == 3
    gone = run(tmp_path, *command, port=port)
    assert gone.exit_code == 3
    assert "no gateway listens at" in gone.stderr


def test_a_configuration_that_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    assert run(tmp_path, "cache", "stats", port=99_999).exit_code == 2


def test_fast_enough_is_0_and_names_the_stage(tmp_path: Path) -> None:
    code, lines = told(tmp_path, stages(12.5, 8.0), "status", "--latency")
    assert (code, lines[0]) == (
        0,
        "fast enough: p95 12.5 ms in the last 5m, most of it in upstream; 2/2 workers answered",
    )
    assert "upstream    5m: 4 times, p50 1.0 ms, p95 8.0 ms, p99 9.0 ms" in lines
    assert "auth        1m: nothing" in lines


def test_too_slow_is_1_with_the_culprit(tmp_path: Path) -> None:
    code, lines = told(tmp_path, stages(3100.0, 3050.0), "status", "--latency", "--json")
    found = json.loads(lines[0])
    assert (code, found["healthy"], found["slowest_stage"], found["window"]) == (1, False, "upstream", "5m")


def test_without_a_message_there_is_no_verdict(tmp_path: Path) -> None:
    empty = {name: {"count": 0} for name in ("1m", "5m", "1h")}
    code, lines = told(tmp_path, {**ACKED, "stages": {"request": empty}}, "status", "--latency")
    assert (code, lines[0]) == (3, "no message in the last hour; 2/2 workers answered")


@pytest.mark.parametrize("answer", [{**stages(1.0, 1.0), "replicas_acked": 1}, {"stages": {}}])
def test_less_than_all_workers_is_1(tmp_path: Path, answer: dict[str, Any]) -> None:
    document = {"replicas_acked": 0, "replicas_total": 2, **answer}
    assert told(tmp_path, document, "status", "--latency")[0] == 1


def test_every_worker_runs_what_is_wanted(tmp_path: Path) -> None:
    code, lines = told(tmp_path, revisions("c" * 64, "c" * 64), "status", "--revisions")
    assert (code, lines[0]) == (0, "airlock 1.2.3; 2/2 workers run what is wanted")
    assert lines[-1] == f"worker 1: in force, policy {'a' * 64}, configuration {'c' * 64}"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (revisions("c" * 64, "d" * 64), f"worker 1: DIFFERENT, policy {'a' * 64}, configuration {'d' * 64}"),
        (revisions("c" * 64, ""), "worker 1: silent, policy , configuration "),
        (revisions("c" * 64, last_error={"what": "line 7"}), "the last reload was refused: line 7"),
        (revisions(), "airlock 1.2.3; 0/0 workers run what is wanted"),
    ],
)
def test_another_revision_somewhere_is_1(tmp_path: Path, answer: dict[str, Any], line: str) -> None:
    code, lines = told(tmp_path, answer, "status", "--revisions")
    assert code == 1
    assert line in lines


def test_three_questions_are_asked_one_at_a_time(tmp_path: Path) -> None:
    assert run(tmp_path, "status", "--latency", "--revisions", port=1).exit_code == 2


def test_the_heap_for_people(tmp_path: Path) -> None:
    older = place(5, function="bytes", holder="held by list", origin="older", file="")
    answer = heap()
    answer["top"].append(older)
    code, lines = told(tmp_path, answer, "debug", "heap")
    assert code == 0
    assert lines[1] == (
        "worker 0: pid 7, 3.0 MiB resident; 1.0 MiB allocated since 2026-11-22T10:00:00Z, 2.0 MiB older"
    )
    assert lines[3].split() == ["1048576", "2", "app.leak", "/srv/app.py:12"]
    assert lines[4].split() == ["5", "2", "[older]", "bytes", "held", "by", "list"]


def test_a_function_that_took_much_is_named(tmp_path: Path) -> None:
    answer = {**heap(), "top": [place(256 << 20), place(1)]}
    code, lines = told(tmp_path, answer, "debug", "heap", "--top", "1")
    assert code == 1
    assert "suspect: app.leak (/srv/app.py:12) took 256.0 MiB" in lines
    assert sum("app.leak" in line for line in lines) == 2


def test_the_first_look_cannot_tell(tmp_path: Path) -> None:
    code, lines = told(tmp_path, heap(traced_since=None), "debug", "heap")
    assert code == 3
    assert lines[1].endswith("2.0 MiB by type; allocations are traced from now on: look again")


def test_a_silent_worker_has_no_heap(tmp_path: Path) -> None:
    answer: dict[str, Any] = {**heap(), "total": 2}
    answer["workers"].append({"slot": 1, "answered": False})
    code, lines = told(tmp_path, answer, "debug", "heap")
    assert (code, lines[2]) == (1, "worker 1: no answer")


@pytest.mark.parametrize("answer", [Answer(b"no JSON"), Answer({}, status=421)])
def test_what_is_no_heap_ends_with_3(tmp_path: Path, answer: Answer) -> None:
    with gateway(answer) as server:
        assert run(tmp_path, "debug", "heap", port=1, debug_port=server.port).exit_code == 3


def test_without_a_port_nobody_can_be_asked(tmp_path: Path) -> None:
    result = run(tmp_path, "debug", "heap", port=1)
    assert (result.exit_code, "server.debug_port is 0" in result.stderr) == (3, True)
