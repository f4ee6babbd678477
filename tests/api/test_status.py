"""What is true of all workers, asked of any one of them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from airlock.api.policy import World
from airlock.api.status import StatusApi
from airlock.model.snapshot import Current
from airlock.store import replicas
from airlock.store.database import Store, open_store
from tests.api.doors import ask, door, request, told
from tests.gateway.parts import HandClock, principal, snapshot

ASKED = request("GET", "/admin/status")
RIGHT, WRONG = "a" * 64, "b" * 64
OK = {"state": "ok", "reason": ""}


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    opened = open_store(tmp_path / "sark.db")
    yield opened
    opened.close()


class Site:
    """Two workers that are well."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock, self.world = store, HandClock(), World()
        self.world.desired, self.world.digest = RIGHT, "c" * 64
        self.world.replicas = [{"active_sha256": RIGHT, "digest": "c" * 64} for _ in range(2)]
        self.world.health = [self.health(slot) for slot in range(2)]
        for slot in range(2):
            self.beat(slot)

    def health(self, slot: int, *, ready: bool = True, **components: dict[str, str]) -> dict[str, Any]:
        said = {"audit": OK, "policy": OK, **components}
        return {"chain_uid": f"chain-{slot}", "pid": 100 + slot, "ready": ready, "components": said}

    def beat(self, slot: int) -> None:
        replicas.seen(self.store, replica=f"chain-{slot}", epoch=1, now=self.clock.wall())

    def api(self) -> StatusApi:
        current = Current(snapshot())
        return StatusApi(world=self.world, store=self.store, current=current, clock=self.clock)

    def status(self) -> dict[str, Any]:
        code, answer = told(ask(self.api().status, ASKED))
        assert code == 200
        return answer


@pytest.fixture
def site(store: Store) -> Site:
    return Site(store)


def test_where_all_is_well_nothing_is_wrong(site: Site) -> None:
    answer = site.status()
    assert (answer["ready"], answer["healthy"], answer["wrong"]) == (True, True, [])
    assert [(worker["slot"], worker["pid"], worker["ready"]) for worker in answer["workers"]] == [
        (0, 100, True),
        (1, 101, True),
    ]


def test_each_server_is_named_with_its_state(site: Site) -> None:
    names = [server["name"] for server in site.status()["servers"]]
    assert names == sorted(snapshot().registry.servers)


def test_a_worker_that_is_gone_is_not_ready(site: Site) -> None:
    site.world.replicas[1] = site.world.health[1] = None
    answer = site.status()
    assert (answer["ready"], answer["wrong"]) == (False, ["worker 1: silent, or not running"])


def test_a_worker_that_hangs_is_not_ready_whatever_it_said_last(site: Site) -> None:
    site.clock.seconds += replicas.LAPSE + 1
    site.beat(0)
    answer = site.status()
    assert [worker["ready"] for worker in answer["workers"]] == [True, False]
    assert answer["wrong"] == ["worker 1: silent, or not running"]


def test_a_component_that_fails_in_one_worker_is_wrong(site: Site) -> None:
    site.world.health[1] = site.health(1, ready=False, audit={"state": "failed", "reason": "full"})
    answer = site.status()
    assert (answer["ready"], answer["wrong"]) == (False, ["worker 1: audit failed: full"])


def test_what_is_degraded_serves_and_is_wrong(site: Site) -> None:
    site.world.health[0] = site.health(0, upstreams={"state": "degraded", "reason": "1 of 2"})
    answer = site.status()
    assert (answer["ready"], answer["healthy"]) == (True, False)
    assert answer["wrong"] == ["worker 0: upstreams degraded: 1 of 2"]


def test_a_worker_with_another_policy_is_wrong(site: Site) -> None:
    site.world.replicas[0] = {"active_sha256": WRONG, "digest": "c" * 64}
    assert site.status()["wrong"] == [f"worker 0: policy {WRONG[:12]} instead of {RIGHT[:12]}"]


def test_a_worker_with_another_configuration_is_wrong(site: Site) -> None:
    site.world.replicas[1] = {"active_sha256": RIGHT, "digest": "d" * 64}
    assert site.status()["wrong"] == [f"worker 1: configuration {'d' * 12} instead of {'c' * 12}"]


def test_a_refused_reload_and_a_dead_projector_are_wrong(site: Site) -> None:
    site.world.refused = {"where": "policy.path", "what": "nothing there"}
    site.world.parts = {"projector": {"error": "the projector is not running"}}
    assert site.status()["wrong"] == [
        "projector: the projector is not running",
        "the last reload was refused: nothing there",
    ]


def test_without_workers_nothing_is_ready(site: Site) -> None:
    site.world.replicas, site.world.health = [], []
    assert site.status()["ready"] is False


def test_nobody_else_reads_it(site: Site) -> None:
    assert told(ask(site.api().status, ASKED, door(principal()))) == (403, "admin_role_required")
