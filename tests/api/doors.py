"""A door with everything behind it that a handler of the management API needs, and what came to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from airlock.api.door import Allowed, Door, Keys, nobody_else
from airlock.api.entries import Entry, Guarded
from airlock.core.errors import Refused, Unauthenticated
from airlock.mcp.headers import Headers
from airlock.model.call import Authenticated, Inbound
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.principal import Principal
from tests.gateway.parts import PUBLIC, principal, snapshot

ADMIN = principal(roles=("developer", "admin"))


def caller(who: Principal, asked: HttpRequest) -> Authenticated:
    """Somebody whose token counts."""
    inbound = Inbound(
        request_id="r",
        route=asked.path,
        server="",
        headers=Headers(()),
        body=b"",
        source_ip=asked.source_ip,
        source_port=0,
        received=0.0,
    )
    return Authenticated(inbound=inbound, principal=who, snapshot=snapshot())


def nobody(_: Authenticated) -> None:
    """Nobody is contained."""


class Turned:
    """Whom the door turned away, and why."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.seen: list[tuple[str, str]] = []
        self._failure = failure

    async def __call__(self, request: HttpRequest, principal: Principal | None, why: Refused) -> None:
        if self._failure is not None:
            raise self._failure
        self.seen.append((principal.subject if principal else "", why.reason))


class Forgetful:
    """Keys that nobody remembers."""

    async def once(
        self, request: HttpRequest, principal: Principal, change: Callable[[], Awaitable[HttpResponse]]
    ) -> HttpResponse:
        return await change()


def door(
    who: Principal | Unauthenticated = ADMIN,
    *,
    permit: Callable[[Authenticated], None] = nobody,
    turned: Turned | None = None,
    allowed: Allowed = nobody_else,
    keys: Keys | None = None,
) -> Door:
    """A door for one caller, or for a token that does not count."""

    async def identify(asked: HttpRequest) -> Authenticated:
        assert asked.authorization == "Bearer x"
        if isinstance(who, Unauthenticated):
            raise who
        return caller(who, asked)

    return Door(
        identify=identify,
        permit=permit,
        allowed=allowed,
        turned=turned or Turned(),
        keys=keys or Forgetful(),
        public_url=PUBLIC,
    )


def entry(handle: Guarded, **more: Any) -> Entry:
    """An address with this handler."""
    plain = Entry(method="POST", path="/admin/x", permission="gateway.read", summary="Try.", handler=handle)
    return msgspec.structs.replace(plain, **more)


def request(
    method: str = "POST",
    path: str = "/admin/x",
    body: object = b"",
    *,
    params: Mapping[str, str] | None = None,
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    source_ip: str = "192.0.2.7",
) -> HttpRequest:
    return HttpRequest(
        method=method,
        path=path,
        params=dict(params or {}),
        query=query,
        headers=headers,
        authorization="Bearer x",
        source_ip=source_ip,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


def ask(handle: Guarded, asked: HttpRequest, behind: Door | None = None) -> HttpResponse:
    """What the caller gets from a handler behind a door."""

    async def run() -> HttpResponse:
        return await (behind or door()).guard(entry(handle))(asked)

    return asyncio.run(run())


def told(response: HttpResponse) -> tuple[int, Any]:
    """Status, and the word of a problem or else the whole document."""
    document = msgspec.json.decode(response.body)
    problem = dict(response.headers)["content-type"] == "application/problem+json"
    return response.status, document["code"] if problem else document
