"""Which policy every worker runs: for administrators only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from airlock.api.policy import Identify, PolicyApi, World
from airlock.core.errors import Unauthenticated
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.principal import Principal
from tests.gateway.parts import PUBLIC, principal

WHERE = f'resource_metadata="{PUBLIC}/.well-known/oauth-protected-resource/mcp"'


def admin(_: HttpRequest) -> Principal:
    return principal(roles=("developer", "admin"))


def refusing(error: str | None) -> Callable[[HttpRequest], Principal]:
    def identify(_: HttpRequest) -> Principal:
        raise Unauthenticated(401, "token_missing", "No.", error=error)

    return identify


def ask(identify: Identify, world: World | None = None) -> HttpResponse:
    api = PolicyApi(world=world or World(), active=lambda: "a" * 64, identify=identify, public_url=PUBLIC)
    request = HttpRequest(
        method="GET",
        path="/admin/policy/status",
        params={},
        authorization="Bearer x",
        source_ip="192.0.2.7",
        body=b"",
    )

    async def asked() -> HttpResponse:
        return await api.status(request)

    return asyncio.run(asked())


@pytest.mark.parametrize("error", [None, "invalid_token"])
def test_who_is_not_known_is_challenged(error: str | None) -> None:
    response = ask(refusing(error))
    challenge = dict(response.headers)["www-authenticate"]
    assert response.status == 401
    assert challenge.startswith(f"Bearer {WHERE}")
    assert ('error="invalid_token"' in challenge) is (error is not None)


@pytest.mark.parametrize("roles", [(), ("developer",), ("Admin",), ("administrator",)])
def test_who_is_no_administrator_gets_403(roles: tuple[str, ...]) -> None:
    response = ask(lambda _: principal(roles=roles))
    assert (response.status, json.loads(response.body)) == (403, {"error": "admin_role_required"})


def test_an_administrator_reads_what_is_wanted_and_what_is_active() -> None:
    world = World()
    world.desired = "b" * 64
    world.replicas = [{"slot": 0, "active_sha256": "a" * 64}, None]
    response = ask(admin, world)
    assert response.status == 200
    assert json.loads(response.body) == {
        "desired_sha256": "b" * 64,
        "active_sha256": "a" * 64,
        "revision": "a" * 64,
        "replicas": [{"slot": 0, "active_sha256": "a" * 64}, None],
        "last_error": None,
    }


def test_an_administrator_reads_why_the_last_reload_was_refused() -> None:
    world = World()
    world.refused = {"where": "policy.path", "what": "nothing there"}
    assert json.loads(ask(admin, world).body)["last_error"] == world.refused


def test_the_request_is_what_the_caller_is_known_by() -> None:
    seen: list[str | None] = []

    def identify(request: HttpRequest) -> Principal:
        seen.append(request.authorization)
        return admin(request)

    ask(identify)
    assert seen == ["Bearer x"]
