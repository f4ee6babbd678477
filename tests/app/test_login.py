"""Logins, wired: nothing without `auth.login`, and documents only from their own URL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from airlock.app.login import LoginFacade, directly, revoked
from airlock.core.config import AuthSection, Config, IssuerEntry, LoginSection
from airlock.core.errors import Rejected, UpstreamFault
from airlock.gateway.strangers import Strangers
from airlock.identity.refusals import Reason, invalid
from airlock.model.call import Authenticated, Inbound
from airlock.model.containment import compiled
from airlock.model.http import HttpRequest
from airlock.model.lease import Lease, Selector
from airlock.model.snapshot import Current, Keys
from airlock.upstream import guard
from airlock.upstream.fetch import Fetched
from tests.gateway.parts import FakeLog, HandClock, Lines, snapshot
from tests.identity.login_parts import SEALER

URL = "https://app.example/client.json"


def test_without_a_login_there_is_no_door_and_no_key(tmp_path: Path) -> None:
    nothing: Any = cast("Any", None)
    config = Config(data_dir=str(tmp_path))
    facade = LoginFacade(config=config, sealer=SEALER, store=nothing, clock=HandClock())
    doors = facade.doors(
        current=nothing,
        providers=nothing,
        strangers=nothing,
        writer=nothing,
        authenticate=nothing,
        person=nothing,
        log=nothing,
    )
    assert (doors, facade.trusted(), facade.pinned(Keys())) == ((), (), Keys())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "path", "failed"),
    [("POST", "/oauth/logout", ["203.0.113.9"]), ("GET", "/oauth/authorize", [])],
)
def test_a_token_that_does_not_count_counts_against_its_address(
    tmp_path: Path, method: str, path: str, failed: list[str]
) -> None:
    """Wherever it is tried. A wrong request without any is no guess at one."""
    nothing: Any = cast("Any", None)
    issuer = "https://idp.example"
    auth = AuthSection(
        issuers=(IssuerEntry(issuer=issuer),), login=LoginSection(issuer=issuer, client_id="airlock")
    )
    found: list[str] = []

    async def authenticate(_: Inbound) -> Authenticated:
        raise invalid(Reason.SIGNATURE)

    clock = HandClock()
    facade = LoginFacade(
        config=Config(data_dir=str(tmp_path), auth=auth), sealer=SEALER, store=nothing, clock=clock
    )
    doors = facade.doors(
        current=nothing,
        providers=nothing,
        strangers=Strangers(log=FakeLog([]), clock=clock, failed=found.append),
        writer=cast("Any", FakeLog([])),
        authenticate=authenticate,
        person=nothing,
        log=cast("Any", Lines()),
    )
    handler = next(route.handler for route in doors if (route.method, route.path) == (method, path))
    assert handler is not None
    request = HttpRequest(
        method=method,
        path=path,
        params={},
        query="",
        headers=(),
        authorization="Bearer a.b.c",
        source_ip="203.0.113.9",
        body=b"",
    )
    assert asyncio.run(cast("Any", handler(request))).status in (400, 401)
    assert found == failed


def test_who_revokes_a_token_of_a_login_means_the_login_while_the_lease_holds() -> None:
    clock = HandClock()
    current = Current(snapshot())
    ended = revoked(current, clock)
    assert not ended("grant")
    lease = Lease(
        id="L1",
        action="token.revoke",
        selector=Selector(token="grant.token"),
        reason="test",
        actor="test",
        origin="api",
        created_at=clock.wall(),
        expires_at=clock.wall() + 600,
        max_until=None,
        state="active",
        epoch=1,
    )
    current.swap(leases=compiled([lease], epoch=1))
    assert [ended("grant"), ended("gran"), ended("other")] == [True, False, False]
    clock.seconds += 600
    assert not ended("grant")


def test_a_document_comes_from_its_own_url() -> None:
    async def get(url: str) -> Fetched:
        return Fetched(url=url, status=200, body=b"{}")

    assert asyncio.run(directly(get)(URL)).body == b"{}"


def test_a_document_that_redirects_is_not_used() -> None:
    async def get(url: str) -> Fetched:
        return Fetched(url="https://elsewhere.example/", status=200, body=b"{}")

    with pytest.raises(UpstreamFault):
        asyncio.run(directly(get)(URL))


def test_a_document_from_inside_is_refused_by_name() -> None:
    async def get(url: str) -> Fetched:
        raise guard.Forbidden.because("inside")

    with pytest.raises(Rejected) as refused:
        asyncio.run(directly(get)(URL))
    assert refused.value.reason == "ssrf_guard"
