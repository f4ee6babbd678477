"""A gateway is backed up while it serves, deleted, and brought back from the file. One story."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airlock.policy.bundle import load_bundle
from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

pytestmark = pytest.mark.timeout(300)  # two starts and five commands, on a machine that may be busy

RULES = """package airlock

default allow := false

allow if input.subject.id == "keeper"
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@contextmanager
def under_load(gateway: Deployment, token: str) -> Generator[list[int]]:
    """One caller, some twenty times a second; the HTTP status of each of its calls."""
    statuses: list[int] = []
    enough = threading.Event()

    def work() -> None:
        while not enough.wait(0.05):
            statuses.append(gateway.call("low__echo", {"n": len(statuses)}, token).status)

    caller = threading.Thread(target=work)
    caller.start()
    try:
        until(lambda: len(statuses) > 5, what="the first calls")
        yield statuses
    finally:
        enough.set()
        caller.join(30)


def told(result: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    """The JSON of a command."""
    assert result.returncode == code, result.stdout + result.stderr
    return json.loads(result.stdout)


def test_a_gateway_comes_back_from_its_backup(tmp_path: Path, upstream: Recorder) -> None:
    home, shelf = tmp_path / "home", tmp_path / "shelf"
    (home / "rules").mkdir(parents=True)
    shelf.mkdir()
    (home / "rules" / "main.rego").write_text(RULES)
    servers = [{"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
    gateway = Deployment(home, servers, policy={"path": "rules"})
    gateway.log = tmp_path / "gateway.log"
    try:
        # 1. It serves, and is backed up meanwhile.
        gateway.start()
        token, stranger = gateway.token("keeper"), gateway.token("stranger")
        revision = load_bundle(home / "rules").revision
        out = str(shelf / "backup.tar")
        with under_load(gateway, token) as statuses:
            before = len(statuses)
            saved = told(gateway.airlock("backup", "--config", str(gateway.config), "--out", out, "--json"))
            until(lambda: len(statuses) > before + 5, what="calls after the backup")
        assert set(statuses) == {200}
        ends = {chain["chain_uid"]: (chain["seq"], chain["hash"]) for chain in saved["chains"]}
        assert len(ends) == 2
        # 2. It goes on, ends, and everything of it is deleted.
        assert gateway.call("low__echo", {"after": "the backup"}, token).status == 200
        gateway.stop()
        shutil.rmtree(home)
        # 3. All of it comes back, and the old chains verify.
        home.mkdir()
        restored = gateway.airlock("restore", out, "--data-dir", str(gateway.data), "--json")
        assert told(restored)["manifest_sha256"] == saved["manifest_sha256"]
        shutil.copy(gateway.data / "restored/configuration/airlock.yaml", gateway.config)
        shutil.copytree(gateway.data / "restored/policy", home / "rules")
        assert load_bundle(home / "rules").revision == revision
        whole = told(gateway.airlock("audit", "verify", "--config", str(gateway.config), "--json"))
        assert {chain["chain_uid"]: chain["last_seq"] for chain in whole["chains"]} == {
            uid: seq for uid, (seq, _) in ends.items()
        }
        # 4. It serves the same callers by the same policy: tokens from before still count.
        gateway.start()
        assert gateway.call("low__echo", {}, token).status == 200
        assert gateway.tools(stranger) == []
        # 5. Every old chain ends where it was saved, and a new one names that place.
        openings = gateway.recorded(
            "action = 'chain_open' AND reason LIKE 'chain_abandoned: restored%'", count=2
        )
        named = [json.loads(row["metadata"])["predecessor"] for row in openings]
        assert {each["chain_uid"]: (each["seq"], each["hash"]) for each in named} == ends
        assert {row["chain_uid"] for row in openings}.isdisjoint(ends)
        gateway.stop()
        linked = told(gateway.airlock("audit", "verify", "--config", str(gateway.config), "--json"))
        assert (len(linked["chains"]), linked["finding_count"]) == (4, 0)
        gaps = gateway.airlock("audit", "gaps", "--config", str(gateway.config))
        assert gaps.returncode == 0, gaps.stdout
    finally:
        gateway.stop(signal.SIGKILL)
