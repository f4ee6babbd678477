"""What an operator sees of a running gateway: its state, active checks, the lines of every process."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airlock.core.log_store import segments
from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    entry = {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}
    with Deployment(tmp_path_factory.mktemp("view"), [entry]) as deployment:
        until(lambda: "serving" in str(deployment.lines("lifecycle")), what="the supervisor's word")
        yield deployment


def asked(gateway: Deployment, *arguments: str, token: str | None = None) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    access = gateway.token("root", roles=["admin"]) if token is None else token
    done = gateway.airlock(*arguments, "--config", str(gateway.config), "--json", AIRLOCK_TOKEN=access)
    return done.returncode, json.loads(done.stdout)


def status(gateway: Deployment) -> dict[str, Any]:
    """What the command asks for, without starting it."""
    token = gateway.token("root", roles=["admin"])
    answer = gateway.get("/admin/status", {"Authorization": f"Bearer {token}"})
    assert answer.status == 200, answer.body
    return answer.json


def test_a_healthy_gateway_says_so_and_names_its_parts(gateway: Deployment) -> None:
    until(lambda: status(gateway)["healthy"], what="health")
    code, found = asked(gateway, "status", "--wait", "ready", "--timeout", "60s")
    assert (code, found["wrong"]) == (0, [])
    whole = found["gateway"]
    assert {worker["pid"] for worker in whole["workers"]} == set(gateway.children("airlock.worker"))
    assert [(server["name"], server["state"]) for server in whole["servers"]] == [("low", "ready")]


def test_a_worker_that_hangs_is_seen_and_so_is_its_recovery(gateway: Deployment) -> None:
    until(lambda: status(gateway)["healthy"], what="health")
    pid = gateway.children("airlock.worker")[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = until(
            lambda: silent if "silent" in str((silent := status(gateway))["wrong"]) else None, within=60
        )
        assert (found["healthy"], found["ready"]) == (False, False)
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: status(gateway)["healthy"], within=60, what="recovery")


def test_the_doctor_finds_nothing_wrong_with_policy_databases_and_network(gateway: Deployment) -> None:
    _, found = asked(gateway, "doctor")
    verdicts = {
        check["check"]: check["verdict"]
        for check in found["checks"]
        if check["part"] in {"policy", "oidc", "db", "network"}
    }
    assert set(verdicts.values()) == {"ok"}, found
    assert "server low" in verdicts


def test_a_slow_call_is_in_the_lines_of_all_processes(gateway: Deployment, upstream: Recorder) -> None:
    token = gateway.token("slowpoke")

    def call() -> None:
        gateway.call("low__hang", {"text": "slow"}, token)

    before = len(upstream.seen)
    caller = threading.Thread(target=call)
    caller.start()
    until(lambda: any(b'"hang"' in seen.body for seen in upstream.seen[before:]), what="the call")
    time.sleep(1.1)  # the call has to be slow
    upstream.release.set()
    caller.join(30)

    (row, *_) = gateway.recorded("subject = 'slowpoke' AND action = 'tool_call'")
    lines = asked(gateway, "logs", "--event", "slow_request", "--slowest", "1000")[1]["lines"]
    (line,) = [line for line in lines if line["correlation_id"] == row["request_id"]]
    assert line["duration_ms"] >= 1000
    assert line["replica"] in {"worker-0", "worker-1"}


def test_what_is_kept_is_what_was_said_and_the_owners_alone(gateway: Deployment) -> None:
    folder = gateway.data / "logs"
    assert {"supervisor", "worker-0", "worker-1"} <= set(segments(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = asked(gateway, "logs", "--event", "lifecycle")[1]["lines"]
    kept = [{name: line[name] for name in line if name != "replica"} for line in found]
    assert {line["what"] for line in kept} >= {"serving", "component"}
    said = gateway.lines("lifecycle")
    assert [line for line in kept if line not in said] == []
    times = [line["timestamp"] for line in kept]
    assert times == sorted(times)


def test_full_disk_or_not_calls_are_served(gateway: Deployment) -> None:
    """Nothing can be kept where the folder is gone: the work does not notice."""
    folder = gateway.data / "logs"
    away = Path(f"{folder}.away")
    folder.rename(away)
    try:
        folder.write_text("in the way")
        assert gateway.call("low__echo", {"text": "x"}, gateway.token("served")).status == 200
    finally:
        folder.unlink()
        away.rename(folder)
