"""Which policy every worker runs."""

from __future__ import annotations

from airlock.api.policy import PolicyApi, World
from tests.api.doors import ask, door, request, told
from tests.gateway.parts import principal

ASKED = request("GET", "/admin/policy/status")


def api(world: World) -> PolicyApi:
    return PolicyApi(world=world, active=lambda: "a" * 64)


def test_an_administrator_reads_what_is_wanted_and_what_is_active() -> None:
    world = World()
    world.desired = "b" * 64
    world.replicas = [{"slot": 0, "active_sha256": "a" * 64}, None]
    assert told(ask(api(world).status, ASKED)) == (
        200,
        {
            "desired_sha256": "b" * 64,
            "active_sha256": "a" * 64,
            "revision": "a" * 64,
            "replicas": [{"slot": 0, "active_sha256": "a" * 64}, None],
            "last_error": None,
        },
    )


def test_an_administrator_reads_why_the_last_reload_was_refused() -> None:
    world = World()
    world.refused = {"where": "policy.path", "what": "nothing there"}
    _, answer = told(ask(api(world).status, ASKED))
    assert answer["last_error"] == world.refused


def test_nobody_else_does() -> None:
    assert told(ask(api(World()).status, ASKED, door(principal()))) == (403, "admin_role_required")
