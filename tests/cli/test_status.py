"""`airlock status`: what it makes of the answers, and what it says where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import program
from tests.cli.admin_api import Answer, Gateway, gateway

TOKEN = "secret"
WELL: dict[str, Any] = {
    "ready": True,
    "healthy": True,
    "wrong": [],
    "workers": [
        {"slot": 0, "silent": False, "ready": True, "pid": 7, "active_sha256": "a" * 64, "chain_uid": "c"}
    ],
    "policy": {"desired_sha256": "a" * 64, "last_error": None},
    "servers": [{"name": "docs", "state": "down", "reason": "refused"}],
    "leases": [],
}
SICK = {**WELL, "healthy": False, "wrong": ["worker 0: upstreams degraded: 1 of 1"]}
STARTING = {**SICK, "ready": False}
OPEN = {"status": "ok", "components": {"audit": {"state": "ok", "reason": ""}}}
DOWN = {"status": "down", "components": {"audit": {"state": "failed", "reason": "full"}}}


def run(folder: Path, port: int, *arguments: str, token: str = TOKEN) -> Result:
    config = folder / "airlock.yaml"
    config.write_text(f"data_dir: {folder}/data\nserver: {{port: {port}}}\n")
    access = ["--token", token] if token else []
    asked = ["status", "--config", str(config), *access, *arguments]
    return CliRunner().invoke(program(), asked, env={"AIRLOCK_TOKEN": ""})


@pytest.mark.parametrize(("answer", "code"), [(WELL, 0), (SICK, 1)])
def test_the_exit_code_is_the_verdict(tmp_path: Path, answer: dict[str, Any], code: int) -> None:
    with gateway(Answer(answer)) as server:
        assert run(tmp_path, server.port).exit_code == code
        assert server.requests == [("/admin/status", "Bearer secret"), ("/api/v1/leases", "Bearer secret")]


def test_people_read_the_verdict_first_and_then_what_is_wrong(tmp_path: Path) -> None:
    with gateway(Answer(SICK)) as server:
        lines = run(tmp_path, server.port).stdout.splitlines()
    assert lines == [
        "NOT HEALTHY, serving calls",
        "  wrong: worker 0: upstreams degraded: 1 of 1",
        "worker 0: ready, pid 7, policy aaaaaaaaaaaa, chain c",
        "server docs: down: refused",
        f"policy desired: {'a' * 64}",
        "leases in force: 0",
    ]


@pytest.mark.parametrize(
    ("reload", "overlay", "lines"),
    [
        (
            {"result": "accepted", "changed": ["logging.level"], "acked": 1, "total": 2, "problems": []},
            {"path": "/o.yaml", "state": "applied", "keys": ["logging.level"]},
            [
                "last reload at T: accepted: logging.level, taken over by 1 of 2 workers",
                "overlay /o.yaml: applied: logging.level",
            ],
        ),
        (
            {
                "result": "refused",
                "changed": [],
                "total": 0,
                "problems": [{"where": "a:7"}, {"where": "a:9"}],
            },
            {"path": "/o.yaml", "state": "absent", "keys": []},
            ["last reload at T: refused: a:7; a:9", "overlay /o.yaml: absent"],
        ),
        (
            {"result": "accepted", "changed": [], "acked": 2, "total": 2, "problems": []},
            None,
            ["last reload at T: accepted: nothing changed, taken over by 2 of 2 workers"],
        ),
    ],
)
def test_the_last_changes_are_told(tmp_path: Path, reload: Any, overlay: Any, lines: list[str]) -> None:
    with gateway(Answer({**WELL, "reload": {"at": "T", **reload}, "overlay": overlay})) as server:
        told = run(tmp_path, server.port).stdout.splitlines()
    assert told[4:-1] == lines


def test_json_has_the_whole_answer(tmp_path: Path) -> None:
    with gateway(Answer(WELL)) as server:
        found = json.loads(run(tmp_path, server.port, "--json").stdout)
    assert (found["healthy"], found["gateway"]["workers"], found["leases"]) == (True, WELL["workers"], [])


def test_where_nothing_listens_nothing_is_healthy(tmp_path: Path) -> None:
    result = run(tmp_path, 1)
    assert result.exit_code == 1
    assert "no gateway listens at http://127.0.0.1:1" in result.stdout


@pytest.mark.parametrize(("answer", "status", "code"), [(OPEN, 200, 3), (DOWN, 503, 1)])
def test_without_a_token_only_bad_news_are_certain(
    tmp_path: Path, answer: dict[str, Any], status: int, code: int
) -> None:
    with gateway(Answer(answer, status=status)) as server:
        assert run(tmp_path, server.port, token="").exit_code == code
        assert server.requests == [("/health", "")]


def test_a_token_that_does_not_count_is_said(tmp_path: Path) -> None:
    with gateway(Answer({"detail": "no"}, status=403)) as server:
        result = run(tmp_path, server.port)
    assert result.exit_code == 3
    assert "answered 403 Forbidden" in result.stdout


def test_what_is_no_answer_cannot_tell(tmp_path: Path) -> None:
    with gateway(Answer(b"<html>")) as server:
        assert run(tmp_path, server.port).exit_code == 3


def test_waiting_ends_when_every_worker_serves_be_it_healthy_or_not(tmp_path: Path) -> None:
    with gateway(Answer(SICK)) as server:
        assert run(tmp_path, server.port, "--wait", "ready").exit_code == 0


class Later(Answer):
    """Another answer from the second question on."""

    def __init__(self, first: Any, then: Any) -> None:
        super().__init__(first)
        self._then = then
        self._asked = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "body":
            self._asked += 1
            if self._asked > 2:  # status and leases
                return json.dumps(self._then).encode()
        return super().__getattribute__(name)


def test_waiting_looks_again(tmp_path: Path) -> None:
    with gateway(Later(STARTING, WELL)) as server:
        assert run(tmp_path, server.port, "--wait", "ready", "--timeout", "30s").exit_code == 0
        assert asked(server) >= 2


def asked(server: Gateway) -> int:
    return sum(path == "/admin/status" for path, _ in server.requests)


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with gateway(Answer(STARTING)) as server:
        assert run(tmp_path, server.port, "--wait", "ready", "--timeout", "0s").exit_code == 1


@pytest.mark.parametrize("token", ["", "wrong"])
def test_waiting_for_what_a_token_would_tell_is_no_use(tmp_path: Path, token: str) -> None:
    with gateway(Answer(OPEN, status=200 if not token else 401)) as server:
        assert run(tmp_path, server.port, "--wait", "ready", token=token).exit_code == 3
        assert len(server.requests) <= 2


@pytest.mark.parametrize("arguments", [("--wait", "healthy"), ("--timeout", "soon")])
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: tuple[str, str]) -> None:
    assert run(tmp_path, 1, *arguments).exit_code == 2
