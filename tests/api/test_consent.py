"""The pages of a login: asked, agreed, gone and come back, each step in the same browser."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from airlock.api.consent import CODE
from airlock.core.errors import AuditFault, Fault, Refused, Stage
from airlock.identity.claims import Claims
from airlock.identity.flow import PATIENCE
from airlock.model.http import HttpResponse
from airlock.store.database import open_store
from tests.api.login_parts import (
    THERE,
    World,
    agreed,
    asked,
    authorize,
    back,
    cookie,
    exchanged,
    field,
    form,
    onward,
    query,
    rejected,
)
from tests.identity.login_parts import CALLBACK, GATEWAY, PROVIDER

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


def say(response: HttpResponse) -> tuple[int, str]:
    """Status and the reason on the page."""
    _, _, rest = response.body.decode().partition("Reason: ")
    return response.status, rest.partition("<")[0]


def test_a_person_is_asked(world: World) -> None:
    shown = run(world.consent.authorize(authorize()))
    text = shown.body.decode()
    assert shown.status == 200
    assert "An App" in text
    assert "app.example" in text
    assert world.strangers == []


@pytest.mark.parametrize(
    ("gateway", "name", "flag"),
    [(GATEWAY, "__Host-airlock-browser", True), ("http://127.0.0.1:8080", "airlock-browser", False)],
)
def test_the_cookie_is_of_this_host_alone(tmp_path: Path, gateway: str, name: str, flag: bool) -> None:
    store = open_store(tmp_path / "sark.db")
    shown = run(World(store, gateway=gateway).consent.authorize(authorize(resource=f"{gateway}/mcp")))
    store.close()
    (line,) = [value for header, value in shown.headers if header == "set-cookie"]
    assert line.startswith(f"{name}=")
    assert ("; Secure" in line) is flag
    assert "; Path=/; " in line
    assert "Domain" not in line


def test_a_browser_keeps_its_cookie_over_several_logins(world: World) -> None:
    first = run(world.consent.authorize(authorize()))
    request = asked("/oauth/authorize", query=authorize().query, headers=(cookie(first),))
    assert cookie(run(world.consent.authorize(request))) == cookie(first)


@pytest.mark.parametrize(
    "sent", ["__Host-airlock-browser=short", "__Host-airlock-browser=a; __Host-airlock-browser=b"]
)
def test_a_cookie_that_is_none_of_ours_is_replaced(world: World, sent: str) -> None:
    request = asked("/oauth/authorize", query=authorize().query, headers=(("cookie", sent),))
    assert sent not in cookie(run(world.consent.authorize(request)))[1]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"client_id": "another"}, "login_client_unknown"),
        ({"redirect_uri": "https://evil.example/"}, "login_redirect_mismatch"),
        ({"code_challenge_method": "plain"}, "login_pkce_required"),
    ],
)
def test_a_wrong_request_ends_on_a_page(world: World, changed: dict[str, str], reason: str) -> None:
    response = run(world.consent.authorize(authorize(**changed)))
    assert say(response) == (400, reason)
    assert onward(response) == ""
    assert world.strangers == [reason]


def test_a_person_who_agrees_goes_to_the_provider(world: World) -> None:
    shown = run(world.consent.authorize(authorize()))
    fields = {"flow": field(shown), "decision": "allow"}
    response = run(world.consent.consent(form("/oauth/consent", fields, cookie(shown), ("origin", GATEWAY))))
    assert onward(response).startswith(THERE)
    assert cookie(response)[1].startswith("__Host-airlock-trip-")


def test_a_page_of_the_gateway_learns_who_signed_in(world: World) -> None:
    there = f"{GATEWAY}/api/v1/oauth/connect?ticket=t"
    away = run(world.consent.sign_in(there, "b" * 43))
    assert onward(away).startswith(THERE)
    request = asked(
        "/oauth/callback", query=f"code=c&state={query(onward(away))['state']}", headers=(cookie(away),)
    )
    back = run(world.consent.callback(request))
    assert onward(back) == f"{there}&person=alice.{'b' * 43}"
    assert world.rows == []
    assert say(run(world.consent.callback(request))) == (400, "login_state_used")


@pytest.mark.parametrize("decision", ["deny", "", "Allow"])
def test_whoever_does_not_agree_goes_back_with_a_no(world: World, decision: str) -> None:
    shown = run(world.consent.authorize(authorize()))
    fields = {"flow": field(shown), "decision": decision}
    response = run(world.consent.consent(form("/oauth/consent", fields, cookie(shown))))
    assert query(onward(response)) == {"error": "access_denied", "state": "theirs", "iss": GATEWAY}


@pytest.mark.parametrize(
    "headers", [(), (("cookie", "__Host-airlock-browser=" + "x" * 22),)], ids=["none", "other"]
)
def test_another_browser_cannot_agree(world: World, headers: tuple[tuple[str, str], ...]) -> None:
    shown = run(world.consent.authorize(authorize()))
    fields = {"flow": field(shown), "decision": "allow"}
    response = run(world.consent.consent(form("/oauth/consent", fields, *headers)))
    assert say(response) == (400, "login_browser_mismatch")


def test_another_page_cannot_agree(world: World) -> None:
    shown = run(world.consent.authorize(authorize()))
    fields = {"flow": field(shown), "decision": "allow"}
    request = form("/oauth/consent", fields, cookie(shown), ("origin", "https://evil.example"))
    assert say(run(world.consent.consent(request))) == (400, "login_browser_mismatch")


def test_a_consent_that_comes_late_is_refused(world: World) -> None:
    shown = run(world.consent.authorize(authorize()))
    world.clock.seconds += PATIENCE
    fields = {"flow": field(shown), "decision": "allow"}
    response = run(world.consent.consent(form("/oauth/consent", fields, cookie(shown))))
    assert say(response) == (400, "login_expired")


def test_only_a_form_is_a_consent(world: World) -> None:
    request = asked(
        "/oauth/consent", method="POST", body=b"{}", headers=(("content-type", "application/json"),)
    )
    assert say(run(world.consent.consent(request))) == (400, "login_request_invalid")


def test_a_provider_that_is_away_ends_the_login_on_a_page(world: World) -> None:
    shown = run(world.consent.authorize(authorize()))
    world.away = Fault(Stage.AUTHENTICATE, 50302, "login_provider_unavailable", "Away.", detail="refused")
    fields = {"flow": field(shown), "decision": "allow"}
    response = run(world.consent.consent(form("/oauth/consent", fields, cookie(shown))))
    assert say(response) == (503, "login_provider_unavailable")


def test_whoever_comes_back_brings_a_code_to_the_client(world: World) -> None:
    async def login() -> HttpResponse:
        return await back(world, *await agreed(world))

    response = run(login())
    answer = query(onward(response))
    assert onward(response).startswith(f"{CALLBACK}?")
    assert (answer["state"], answer["iss"]) == ("theirs", GATEWAY)
    assert ("referrer-policy", "no-referrer") in response.headers
    assert [value for name, value in response.headers if name == "set-cookie" and "Max-Age=0" in value]


def test_a_login_is_recorded_before_the_client_has_its_code(world: World) -> None:
    async def login() -> None:
        await back(world, *await agreed(world))

    run(login())
    (row,) = world.rows
    assert (row.action, row.decision, row.tenant, row.personal.subject) == ("login", "allow", "acme", "alice")
    assert row.identity["redirect"] == "https://app.example"
    assert row.personal.source_ip == "203.0.113.9"


def test_a_login_that_cannot_be_recorded_gives_no_code(world: World) -> None:
    async def login() -> HttpResponse:
        state, trip = await agreed(world)
        world.broken = True
        return await back(world, state, trip)

    with pytest.raises(AuditFault):
        run(login())


def test_without_a_state_the_answer_has_none(world: World) -> None:
    async def login() -> HttpResponse:
        return await back(world, *await agreed(world, state=None))

    assert query(onward(run(login()))).keys() == {"code", "iss"}


@pytest.mark.parametrize("state", ["", "short", "x" * 43])
def test_a_state_of_nobody_is_refused(world: World, state: str) -> None:
    async def login() -> HttpResponse:
        _, trip = await agreed(world)
        return await back(world, state, trip)

    assert say(run(login())) == (400, "login_browser_mismatch")
    assert world.strangers == ["login_browser_mismatch"]


def test_a_state_counts_once(world: World) -> None:
    async def login() -> HttpResponse:
        state, trip = await agreed(world)
        await back(world, state, trip)
        return await back(world, state, trip)

    assert say(run(login())) == (400, "login_state_used")
    assert (world.rows[-1].reason, world.rows[-1].severity) == ("login_state_used", "HIGH")


def test_a_trip_that_took_too_long_is_refused(world: World) -> None:
    async def login() -> HttpResponse:
        state, trip = await agreed(world)
        world.clock.seconds += PATIENCE
        return await back(world, state, trip)

    assert say(run(login())) == (400, "login_expired")


@pytest.mark.parametrize("claims", [{"tenant": None}, {"sub": None}], ids=["tenant", "subject"])
def test_somebody_of_no_tenant_is_not_logged_in(world: World, claims: dict[str, None]) -> None:
    values: dict[str, Any] = {"iss": PROVIDER, "aud": "airlock", "sub": "alice", "tenant": "acme", **claims}
    world.claims = Claims(**values)

    async def login() -> HttpResponse:
        return await back(world, *await agreed(world))

    assert say(run(login())) == (400, "login_identity_invalid")


def test_the_no_of_the_provider_goes_to_the_client(world: World) -> None:
    world.failure = rejected("access_denied", "login_provider_refused")

    async def login() -> HttpResponse:
        return await back(world, *await agreed(world))

    assert query(onward(run(login())))["error"] == "access_denied"
    assert world.rows[-1].decision == "deny"


@pytest.mark.parametrize(
    ("failure", "told", "decision"),
    [
        (rejected("access_denied", "login_issuer_mismatch"), (400, "login_issuer_mismatch"), "deny"),
        (
            Fault(Stage.AUTHENTICATE, 50302, "login_provider_unavailable", "Away.", detail="x"),
            (503, "login_provider_unavailable"),
            "error",
        ),
    ],
    ids=["refused", "failed"],
)
def test_what_goes_wrong_at_the_provider_ends_on_a_page_and_in_a_row(
    world: World, failure: Refused | Fault, told: tuple[int, str], decision: str
) -> None:
    world.failure = failure

    async def login() -> HttpResponse:
        return await back(world, *await agreed(world))

    assert say(run(login())) == told
    assert (world.rows[-1].decision, world.rows[-1].reason) == (decision, told[1])


def test_a_code_ends_after_a_minute(world: World) -> None:
    async def login() -> HttpResponse:
        answer = await back(world, *await agreed(world))
        world.clock.seconds += CODE
        return await exchanged(world, query(onward(answer))["code"])

    assert run(login()).status == 400
