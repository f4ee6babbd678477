"""Faults inside a running gateway: each does what it says, and the gateway is as before when it is over."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.faults import (
    Absent,
    Seam,
    clock_shifted,
    deaf_worker,
    failed_authentications,
    in_flight,
    killed_under_load,
    leak,
    policy_panics,
    policy_slow,
    projector_still,
    row_edited,
    state,
)
from tests.faults.seams import resident
from tests.system.deployment import Answer, Deployment, until
from tests.system.recorder import Recorder

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def seam(tmp_path_factory: pytest.TempPathFactory) -> Seam:
    return Seam(tmp_path_factory.mktemp("seam"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder, seam: Seam) -> Iterator[Deployment]:
    low = {"transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
    deployment = Deployment(
        tmp_path_factory.mktemp("in-gateway"),
        [{"name": "low", **low}],
        server={"trusted_proxies": ["127.0.0.1"]},
        policy={"cache_ttl": 0},
    )
    deployment.environment = seam.environment
    with deployment:
        yield deployment


@pytest.fixture
def workers(gateway: Deployment) -> list[int]:
    """Both, each of which has said that it serves."""
    [*found] = until(lambda: serving(gateway), within=60, what="two workers")
    return found


def serving(gateway: Deployment) -> list[int]:
    """The workers, once there are two and both are known to the supervisor as ready."""
    admin = {"Authorization": f"Bearer {gateway.token('operator', roles=['admin'])}"}
    said = gateway.get("/admin/policy/status", admin).json["replicas"]
    found = gateway.children("airlock.worker")
    return found if len(found) == 2 and len(said) == 2 and all(said) else []


def echo(gateway: Deployment, subject: str = "") -> Answer:
    token = gateway.token(subject or f"caller-{uuid.uuid4().hex[:8]}")
    return gateway.call("low__echo", {"text": "hello"}, token)


def test_a_policy_that_panics_decides_nothing(gateway: Deployment, seam: Seam, workers: list[int]) -> None:
    with policy_panics(seam, workers, lambda: echo(gateway)) as facts:
        assert facts.fault == "F1"
        refusal = echo(gateway).refusal
        assert refusal["code"] == 50302
    until(lambda: "hello" in echo(gateway).text, what="decisions again")


def test_a_policy_that_is_slow_takes_that_long(gateway: Deployment, seam: Seam, workers: list[int]) -> None:
    with policy_slow(seam, workers, lambda: echo(gateway), 0.3):
        subject = f"slow-{uuid.uuid4().hex[:8]}"
        assert "hello" in echo(gateway, subject).text
    row = gateway.recorded("subject = ? AND action = 'tool_call'", subject)[-1]
    assert row["latency_ms"] >= 300


def test_guesses_from_one_address(gateway: Deployment) -> None:
    with failed_authentications(gateway, count=10, source="203.0.113.77") as facts:
        assert facts.values == {"count": 10, "source": "203.0.113.77"}
        seen = "json_extract(metadata, '$.source_ip') = '203.0.113.77'"
        gateway.recorded(seen)


def test_a_session_and_a_call_in_it_are_open(gateway: Deployment, upstream: Recorder) -> None:
    token = gateway.token("caught")
    with in_flight(gateway, upstream, token, tool="low__hang") as facts:
        assert facts.fault == "F10"
        assert facts.values["answers"] == []
        listed = gateway.post(
            {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, token, headers=facts.values["session"]
        )
        assert listed.status == 200
    assert len(facts.values["answers"]) == 1


def test_a_handler_leaks_until_it_is_told_to_stop(
    gateway: Deployment, seam: Seam, workers: list[int]
) -> None:
    def knock() -> object:
        return gateway.get("/live")

    with leak(seam, workers, knock, mib=64) as facts:
        [grown, *_] = facts.values["growth"]
        large = resident(grown)
        assert facts.values["growth"][grown] > 0.9 * 64 * MIB

    def shrunk() -> bool:
        knock()
        return resident(grown) < large - 40 * MIB

    until(shrunk, what="the memory back")


def block(gateway: Deployment) -> Answer:
    admin = {"Authorization": f"Bearer {gateway.token('operator', roles=['admin'])}"}
    order = {"ip_addresses": ["198.51.100.9"], "duration": "1h"}
    return gateway.send("POST", "/admin/security/block", json.dumps(order).encode(), admin)


def test_a_deaf_worker_misses_what_all_are_told(gateway: Deployment, seam: Seam, workers: list[int]) -> None:
    until(lambda: block(gateway).status == 200, what="an order that both workers follow")
    with deaf_worker(seam, workers):
        for _ in range(3):
            answer = until(lambda: (said := block(gateway)).status == 207 and said, what="one of two")
            assert (answer.json["replicas_acked"], answer.json["replicas_total"]) == (1, 2)
    until(lambda: block(gateway).status == 200, what="an order that both workers follow")


def test_a_wrong_clock_is_in_every_process_of_the_gateway_and_in_the_rows(
    gateway: Deployment, seam: Seam, workers: list[int]
) -> None:
    subject = f"late-{uuid.uuid4().hex[:8]}"
    before = seam.clock()
    with clock_shifted(seam, workers, 600) as facts:
        assert facts.values == {"seconds": 600}
        assert seam.clock() > before + 590
        assert "hello" in echo(gateway, subject).text
    [moment] = gateway.rows("SELECT strftime('%s', MIN(timestamp)) FROM audit_log")[0]
    [late] = (
        row["timestamp"] for row in gateway.recorded("subject = ? AND action = 'tool_call'", subject)[-1:]
    )
    [difference] = gateway.rows("SELECT strftime('%s', ?) - ?", late, moment)[0]
    assert difference > 500
    assert abs(seam.clock() - before) < 300


def test_a_worker_is_killed_while_calls_are_answered(gateway: Deployment, workers: list[int]) -> None:
    token = gateway.token("busy")
    with killed_under_load(workers[0], gateway, token, "low__echo", rate=40) as facts:
        assert state(workers[0]) in {"", "Z"}
        assert facts.values["before"] >= 20
        facts.values["load"].more(20)
    until(lambda: workers[0] not in serving(gateway) and serving(gateway), within=60, what="another worker")


def test_a_row_is_edited_while_the_projector_stands_still(gateway: Deployment) -> None:
    echo(gateway, "edited")
    gateway.recorded("subject = 'edited' AND decision = 'allow'")
    assert gateway.process is not None
    database = gateway.data / "audit.db"
    with projector_still(gateway.process.pid, database), row_edited(database) as facts:
        where = (facts.values["chain_uid"], facts.values["seq"])
        with closing(sqlite3.connect(database)) as db:
            sql = "SELECT decision FROM audit_log WHERE chain_uid = ? AND seq = ?"
            assert db.execute(sql, where).fetchone() == ("deny",)
    echo(gateway, "afterwards")
    gateway.recorded("subject = 'afterwards'")


def test_processes_without_the_seam_follow_no_request(seam: Seam) -> None:
    with pytest.raises(Absent, match="with the seam"), deaf_worker(seam, [os.getpid()]):
        pass
    with subprocess.Popen(["true"]) as gone:
        gone.wait(30)
    with pytest.raises(Absent, match="is gone"), deaf_worker(seam, [gone.pid]):
        pass
    assert not (seam.folder / "deaf").exists()
