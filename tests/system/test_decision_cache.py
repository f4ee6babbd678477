"""Decisions are remembered in running workers, and containment does not ask what they remember."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

COUNTERS = ("airlock_policy_cache_hits_total", "airlock_policy_cache_misses_total")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Deployment]:
    with Recorder() as upstream:
        servers = [{"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
        with Deployment(tmp_path, servers, policy={"cache_ttl": 0}) as deployment:
            yield deployment


def counted(gateway: Deployment) -> list[float]:
    """Hits and misses of both workers."""
    lines = gateway.get("/metrics").body.decode().splitlines()
    return [float(line.split()[1]) for name in COUNTERS for line in lines if line.startswith(f"{name} ")]


def test_a_reload_switches_the_cache_on_and_no_yes_in_it_outlives_a_suspension(gateway: Deployment) -> None:
    token = gateway.token("remembered")

    def call() -> int:
        return gateway.call("low__echo", {"text": "x"}, token).status

    assert [call() for _ in range(4)] == [200] * 4
    assert counted(gateway) == [0, 0]
    gateway.sections["policy"] = {"cacheTTL": "10m", "cacheSize": 20_000}
    gateway.write()
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: call() == 200 and counted(gateway)[0] > 3, what="answers from memory")
    order = {
        "action": "subject.suspend",
        "selector": {"subject": "remembered"},
        "reason": "a trial",
        "ttl": "1h",
    }
    admin = {"Authorization": f"Bearer {gateway.token('operator', roles=['admin'])}"}
    assert gateway.send("POST", "/api/v1/leases", json.dumps(order).encode(), admin).status in {200, 207}
    until(lambda: [call() for _ in range(6)] == [403] * 6, what="refusals of both workers")
