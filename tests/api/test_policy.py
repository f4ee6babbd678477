"""Which policy every worker runs."""

from __future__ import annotations

from airlock.api.policy import PolicyApi, World
from airlock.core.errors import Fault, Stage
from tests.api.doors import ask, door, request, told
from tests.gateway.parts import principal

ASKED = request("GET", "/admin/policy/status")


def api(world: World) -> PolicyApi:
    return PolicyApi(world=world, active=lambda: "a" * 64, living=lambda: frozenset({"chain-0"}))


def test_an_administrator_reads_what_is_wanted_and_what_is_active() -> None:
    world = World()
    world.desired = "b" * 64
    world.replicas = [{"slot": 0, "active_sha256": "a" * 64}, None]
    world.health = [{"chain_uid": "chain-0"}, None]
    assert told(ask(api(world).status, ASKED)) == (
        200,
        {
            "desired_sha256": "b" * 64,
            "rolled_back": None,
            "active_sha256": "a" * 64,
            "revision": "a" * 64,
            "replicas": [{"slot": 0, "active_sha256": "a" * 64, "silent": False}, None],
            "last_error": None,
            "last_reload": None,
        },
    )


def test_a_worker_of_which_nothing_is_heard_is_silent_whatever_it_said() -> None:
    world = World()
    world.replicas = [{"slot": slot, "active_sha256": "a" * 64} for slot in range(3)]
    world.health = [{"chain_uid": "chain-0"}, {"chain_uid": "chain-1"}, None]
    _, answer = told(ask(api(world).status, ASKED))
    assert [each["silent"] for each in answer["replicas"]] == [False, True, True]


def test_where_the_store_cannot_be_read_all_are_silent() -> None:
    def failing() -> frozenset[str]:
        raise Fault(Stage.ADMIT, 50302, "control_unavailable", "The control data cannot be used.")

    world = World()
    world.replicas, world.health = [{"slot": 0, "active_sha256": "a" * 64}], [{"chain_uid": "chain-0"}]
    code, answer = told(ask(PolicyApi(world=world, active=str, living=failing).status, ASKED))
    assert (code, answer["replicas"][0]["silent"]) == (200, True)


def test_an_administrator_reads_why_the_last_reload_was_refused() -> None:
    world = World()
    world.refused = {"where": "policy.path", "what": "nothing there"}
    _, answer = told(ask(api(world).status, ASKED))
    assert answer["last_error"] == world.refused


def test_nobody_else_does() -> None:
    assert told(ask(api(World()).status, ASKED, door(principal()))) == (403, "admin_role_required")
