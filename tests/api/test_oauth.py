"""What clients ask for: registration, tokens for codes and for refresh tokens, and the end of a login."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from airlock.api.ledger import LINES
from airlock.api.oauth import unavailable
from airlock.core.errors import AuditFault, Fault
from airlock.identity.jws import take_apart
from airlock.identity.login import grant_of
from airlock.model.http import HttpRequest, HttpResponse
from airlock.store import login, revocations
from airlock.store.database import open_store
from tests.api.login_parts import World, asked, code, exchanged, form, refreshed, somebody
from tests.gateway.parts import NOW
from tests.identity.login_parts import CALLBACK, GATEWAY, VERIFIER

_Result = TypeVar("_Result")


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    store = open_store(tmp_path / "sark.db")
    yield World(store)
    store.close()


def run(work: Awaitable[_Result]) -> _Result:
    async def done() -> _Result:
        return await work

    return asyncio.run(done())


def told(response: HttpResponse) -> tuple[int, str]:
    return response.status, json.loads(response.body).get("error", "")


def register(world: World, body: bytes) -> HttpResponse:
    return run(world.oauth.register(asked("/oauth/register", method="POST", body=body)))


def test_the_metadata_is_of_this_gateway(world: World) -> None:
    found = json.loads(run(world.oauth.metadata(asked("/x"))).body)
    assert found["issuer"] == GATEWAY
    assert found["registration_endpoint"] == f"{GATEWAY}/oauth/register"


def test_a_client_registers(world: World) -> None:
    answer = register(world, json.dumps({"redirect_uris": [CALLBACK]}).encode())
    assert answer.status == 201
    assert json.loads(answer.body)["client_id"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "invalid_client_metadata"),
        (b"[]", "invalid_client_metadata"),
        (b'{"redirect_uris": ["x"], "redirect_uris": ["y"]}', "invalid_client_metadata"),
        (b'{"redirect_uris": ["http://evil.example/"]}', "invalid_redirect_uri"),
    ],
)
def test_metadata_that_cannot_be_used_is_refused(world: World, body: bytes, error: str) -> None:
    assert told(register(world, body)) == (400, error)
    assert world.strangers == ["login_client_invalid"]


def test_registration_can_be_switched_off(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sark.db")
    closed = World(store, registration=False)
    assert told(register(closed, json.dumps({"redirect_uris": [CALLBACK]}).encode())) == (
        403,
        "access_denied",
    )
    assert "registration_endpoint" not in json.loads(run(closed.oauth.metadata(asked("/x"))).body)
    store.close()


def test_a_code_becomes_tokens(world: World) -> None:
    async def login() -> HttpResponse:
        return await exchanged(world, await code(world))

    answer = run(login())
    given = json.loads(answer.body)
    assert answer.status == 200
    assert ("cache-control", "no-store") in answer.headers
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 600, "mcp.list mcp.call")


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "another"},
        {"redirect_uri": "https://app.example/other"},
        {"code_verifier": "x" * 43},
        {"code_verifier": ""},
        {"resource": f"{GATEWAY}/mcp/notes"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_code_is_worth_nothing_to_anybody_else_and_then_to_nobody(
    world: World, changed: dict[str, str]
) -> None:
    async def login() -> tuple[HttpResponse, HttpResponse]:
        found = await code(world)
        return await exchanged(world, found, **changed), await exchanged(world, found)

    first, second = run(login())
    assert told(first) == told(second) == (400, "invalid_grant")
    assert [row.reason for row in world.rows if row.decision == "deny"] == [
        "login_code_invalid",
        "login_code_reused",
    ]


def test_a_code_that_nobody_was_given_is_a_strangers(world: World) -> None:
    assert told(run(exchanged(world, "made up"))) == (400, "invalid_grant")
    assert world.strangers == ["login_code_invalid"]
    assert world.rows == []


def test_a_code_that_comes_twice_ends_the_login(world: World) -> None:
    async def login() -> tuple[dict[str, Any], HttpResponse, HttpResponse]:
        found = await code(world)
        given = json.loads((await exchanged(world, found)).body)
        return given, await exchanged(world, found), await refreshed(world, given["refresh_token"])

    _, replayed, later = run(login())
    assert told(replayed) == told(later) == (400, "invalid_grant")
    assert len(revocations.load(world.store, now=NOW).token_ids) == 1
    assert (world.rows[-1].reason, world.rows[-1].personal.subject) == ("login_code_reused", "alice")


def test_a_revocation_outlasts_the_leeway_of_verifiers(world: World) -> None:
    async def login() -> None:
        found = await code(world)
        await exchanged(world, found)
        await exchanged(world, found)

    run(login())
    assert len(revocations.load(world.store, now=NOW + 659).token_ids) == 1


def test_a_refresh_token_rotates(world: World) -> None:
    async def login() -> tuple[HttpResponse, HttpResponse]:
        given = json.loads((await exchanged(world, await code(world))).body)
        return await refreshed(world, given["refresh_token"]), await refreshed(world, given["refresh_token"])

    first, second = run(login())
    assert first.status == 200
    assert told(second) == (400, "invalid_grant")
    assert world.rows[-1].reason == "login_refresh_reused"


def test_whose_token_was_revoked_gets_no_other(world: World) -> None:
    async def login() -> tuple[HttpResponse, HttpResponse, HttpResponse]:
        given, others = [json.loads((await exchanged(world, await code(world))).body) for _ in range(2)]
        token_id = take_apart(given["access_token"]).payload["jti"]
        world.revoked.add(grant_of(token_id))
        first = await refreshed(world, given["refresh_token"])
        world.revoked.clear()
        again = await refreshed(world, given["refresh_token"])
        return first, again, await refreshed(world, others["refresh_token"])

    first, again, other = run(login())
    assert told(first) == told(again) == (400, "invalid_grant")
    assert other.status == 200


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"client_id": "another"}, (400, "invalid_grant")),
        ({"resource": f"{GATEWAY}/mcp/notes"}, (400, "invalid_grant")),
        ({"scope": "mcp.call"}, (400, "invalid_grant")),
        ({"scope": "unknown"}, (400, "invalid_scope")),
        ({"refresh_token": "made up"}, (400, "invalid_grant")),
        ({"scope": "mcp.list"}, (200, "")),
        ({"resource": f"{GATEWAY}/mcp"}, (200, "")),
    ],
)
def test_a_refresh_is_for_what_was_granted(
    world: World, changed: dict[str, str], answer: tuple[int, str]
) -> None:
    async def login() -> HttpResponse:
        given = json.loads((await exchanged(world, await code(world, scope="mcp.list"))).body)
        return await refreshed(world, given["refresh_token"], **changed)

    assert told(run(login())) == answer


def test_a_login_ends_after_its_session(world: World) -> None:
    async def run_out() -> HttpResponse:
        given = json.loads((await exchanged(world, await code(world))).body)
        world.clock.seconds += 3600
        return await refreshed(world, given["refresh_token"])

    assert told(run(run_out())) == (400, "invalid_grant")


def test_too_many_tokens_at_a_time_have_to_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "MAX_TOKENS", 1)

    async def hurry() -> HttpResponse:
        given = json.loads((await exchanged(world, await code(world))).body)
        return await refreshed(world, given["refresh_token"])

    assert told(run(hurry())) == (429, "temporarily_unavailable")


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (form("/oauth/token", {"grant_type": "password", "client_id": "x"}), (400, "unsupported_grant_type")),
        (form("/oauth/token", {"client_id": "x"}), (400, "unsupported_grant_type")),
        (form("/oauth/token", {"grant_type": "refresh_token"}), (401, "invalid_client")),
        (
            form("/oauth/token", {"grant_type": "refresh_token", "client_id": "x"}),
            (400, "invalid_grant"),
        ),
        (asked("/oauth/token", method="POST", body=b"a=1"), (400, "invalid_request")),
        (
            form(
                "/oauth/token",
                {"grant_type": "authorization_code", "client_id": "x", "code_verifier": VERIFIER},
            ),
            (400, "invalid_grant"),
        ),
    ],
)
def test_a_wrong_token_request_is_refused(
    world: World, request_: HttpRequest, answer: tuple[int, str]
) -> None:
    assert told(run(world.oauth.token(request_))) == answer


def test_a_person_logs_out(world: World) -> None:
    async def out() -> HttpResponse:
        await exchanged(world, await code(world))
        with world.store.read() as connection:
            grant = connection.exec_driver_sql("SELECT id FROM login_grants").scalar_one()
        world.principal = somebody(GATEWAY, f"{grant}.x")
        return await world.oauth.logout(asked("/oauth/logout", method="POST"))

    assert run(out()).status == 204
    assert len(revocations.load(world.store, now=NOW).token_ids) == 1
    assert (world.rows[-1].action, world.rows[-1].personal.subject) == ("logout", "alice")


def test_logging_out_names_the_resource_of_the_token(world: World) -> None:
    world.principal = somebody(GATEWAY, "unknown.x")
    query = f"resource={GATEWAY}/mcp/notes"
    assert run(world.oauth.logout(asked("/oauth/logout", method="POST", query=query))).status == 204
    assert world.paths == ["/mcp/notes"]
    assert world.rows == []


def test_a_token_of_another_issuer_ends_nothing(world: World) -> None:
    world.principal = somebody("https://idp.example", "g.x")
    assert run(world.oauth.logout(asked("/oauth/logout", method="POST"))).status == 204
    assert world.rows == []


def test_whoever_logs_out_needs_a_token(world: World) -> None:
    answer = run(world.oauth.logout(asked("/oauth/logout", method="POST")))
    assert answer.status == 401
    assert "www-authenticate" in dict(answer.headers)


def test_logging_out_of_another_gateway_is_refused(world: World) -> None:
    request = asked("/oauth/logout", method="POST", query="resource=https://evil.example")
    assert told(run(world.oauth.logout(request))) == (400, "invalid_target")


def test_what_fails_on_our_side_is_answered_and_logged(world: World) -> None:
    async def broken(request: HttpRequest) -> HttpResponse:
        raise AuditFault("the disk is full")

    handle = world.ledger.calm(broken, unavailable)
    assert told(run(handle(asked("/oauth/token")))) == (503, "temporarily_unavailable")
    assert world.lines[-1][0] == "request_failed"


def test_what_works_is_passed_on(world: World) -> None:
    handle = world.ledger.calm(world.oauth.metadata, unavailable)
    assert run(handle(asked("/x"))).status == 200


def test_the_detail_of_a_failure_is_no_callers_business() -> None:
    failure: Fault = AuditFault("the disk is full")
    assert b"disk" not in unavailable(failure).body


def test_a_flood_of_strangers_makes_a_few_lines(world: World) -> None:
    for _ in range(LINES + 5):
        register(world, b"")
    assert len(world.lines) == LINES
    assert len(world.strangers) == LINES + 5
    world.clock.seconds += 1
    register(world, b"")
    assert len(world.lines) == LINES + 1
