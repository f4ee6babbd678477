"""`kill -9` under load: what was acknowledged has its row, what was sent its intent, and the log verifies.

Workers, the projector and the supervisor are killed while clients call. A few rounds run with every test
run; `AIRLOCK_KILLS=100` makes it a hundred for each of the two settings (`make crash`).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

KILLS = int(os.environ.get("AIRLOCK_KILLS", "10"))
pytestmark = pytest.mark.unmeasured

VICTIMS = ("airlock.worker",) * 8 + ("airlock.audit.projector", "supervisor")


class Load(threading.Thread):
    """Calls two tools in turn, one of them sensitive, and remembers what was acknowledged."""

    def __init__(self, gateway: Deployment, token: str) -> None:
        super().__init__(daemon=True)
        self.gateway, self.token = gateway, token
        self.acknowledged: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        tools = ("low__echo", "medium__echo")
        while not self.stopped.is_set():
            tool = tools[len(self.acknowledged) % 2]
            marker = uuid.uuid4().hex
            with suppress(OSError, HTTPException, ValueError, KeyError):
                answer = self.gateway.call(tool, {"text": marker}, self.token)
                if answer.status == 200 and marker in answer.text:
                    self.acknowledged.append(marker)
            time.sleep(0.005)


def digest(marker: str) -> str:
    return hashlib.sha256(json.dumps({"text": marker}, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("intent", ["effects", "all"])
def test_no_kill_loses_what_was_acknowledged(tmp_path: Path, intent: str) -> None:
    with Recorder() as low, Recorder() as medium:
        servers = [
            {
                "name": "low",
                "transport": "http",
                "url": low.url,
                "sensitivity": "low",
                "read_only": True,
            },
            {"name": "medium", "transport": "http", "url": medium.url},
        ]
        gateway = Deployment(tmp_path, servers, audit={"intent": intent, "segment_size": "1MiB"})
        with gateway:
            loads = [Load(gateway, gateway.token(f"load-{n}", ttl=7200)) for n in range(4)]
            for load in loads:
                load.start()
            killed = kill_at_random(gateway, loads)
            for load in loads:
                load.stopped.set()
                load.join(60)
            gateway.wait_ready()
        answered = {marker for load in loads for marker in load.acknowledged}
        needs_intent = [*medium.calls(), *(low.calls() if intent == "all" else [])]
        judge(gateway, answered, {call["params"]["arguments"]["text"] for call in needs_intent})
        sys.stdout.write(f"{intent}: {len(killed)} kills, {len(answered)} calls acknowledged\n")


def acknowledged(loads: list[Load]) -> int:
    return sum(len(load.acknowledged) for load in loads)


def kill_at_random(gateway: Deployment, loads: list[Load]) -> list[str]:
    """Kill processes one after the other, each while calls are being acknowledged."""
    chance = random.Random(KILLS)  # noqa: S311 - which process dies need not be secret
    killed: list[str] = []
    while len(killed) < KILLS:
        wanted = acknowledged(loads) + 5
        until(lambda wanted=wanted: acknowledged(loads) > wanted, within=60, what="progress")
        time.sleep(chance.random() * 0.2)
        victim = chance.choice(VICTIMS)
        if victim == "supervisor":
            gateway.stop(signal.SIGKILL)
            gateway.start()
            killed.append(victim)
            continue
        for pid in gateway.children(victim)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(victim)
    return killed


def judge(gateway: Deployment, answered: set[str], needs_intent: set[str]) -> None:
    """Hold the log against what clients and servers saw."""
    rows = gateway.rows(
        "SELECT l.phase, l.decision, json_extract(p.data, '$.arguments_digest')"
        " FROM audit_log l JOIN audit_personal p USING (n) WHERE l.action = 'tool_call'"
    )
    decided = {found for phase, decision, found in rows if phase == "outcome" and decision == "allow"}
    intended = {found for phase, _, found in rows if phase == "intent"}
    assert answered, "the load did nothing"
    assert needs_intent, "no sensitive call was sent"
    assert not [marker for marker in answered if digest(marker) not in decided]
    assert not [marker for marker in needs_intent if digest(marker) not in intended]
    verdict = gateway.airlock("audit", "verify", "--db", str(gateway.data / "audit.db"))
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
