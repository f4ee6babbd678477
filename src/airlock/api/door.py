"""The door of the management API: who may come in, what happens once, and how a refusal is answered.

1 the bearer token counts, and names the gateway; cookies are never looked at
2 its owner is not contained, and got it for themselves: not a client, by a login at this gateway
3 its owner has the role `admin`, or policy allows `admin:<permission>` of the address; what is a caller's own
  needs neither 2 nor 3
4 a change that was made with the same `Idempotency-Key` is answered as it was then
5 the handler; what it raises is answered as problem details (RFC 9457)

Whoever is turned away before 4 is recorded. Only a bearer token opens the door, and no page can make a
browser send one: so a body counts by what it is, whatever its `Content-Type` says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

import msgspec

from airlock.api.entries import Entry, Permission, mismatch
from airlock.core.errors import Fault, Refused, Rejected, Stage, Unauthenticated
from airlock.identity import resources
from airlock.identity.challenge import challenge
from airlock.model.call import Authenticated
from airlock.model.http import Headers, HttpRequest, HttpResponse
from airlock.model.principal import Principal

ADMIN = "admin"
"""The role that opens the whole of the management API. It is the operator's, over every tenant."""

_HTTP = {40301: 403, 40302: 403, 42901: 429, 42902: 429}
"""Status of a refusal by its code; everything else that is refused is a bad request."""

Identify = Callable[[HttpRequest], Awaitable[Authenticated]]
"""Verifies the bearer token of a request. Raises `Unauthenticated`."""

Allowed = Callable[[Authenticated, Permission], bool]
"""Whether policy clearly allows this to somebody without the role `admin`. Raises `PolicyFault`."""


class Turned(Protocol):
    """Records who was turned away: `principal` is None for a stranger. Raises `AuditFault`."""

    async def __call__(self, request: HttpRequest, principal: Principal | None, why: Refused, /) -> None: ...


class Keys(Protocol):
    """Remembers what a change with an idempotency key was answered. Raises `Rejected` and `Fault`."""

    async def once(
        self, request: HttpRequest, principal: Principal, change: Callable[[], Awaitable[HttpResponse]], /
    ) -> HttpResponse: ...


def nobody_else(_: Authenticated, permission: Permission) -> bool:
    """Nobody comes in without the role `admin`: where there is no policy to ask."""
    return False


class Door:
    """Guards the handlers of the management API. `permit` raises `Refused` for a contained caller, `Fault`
    where that cannot be known."""

    def __init__(
        self,
        *,
        identify: Identify,
        permit: Callable[[Authenticated], None],
        allowed: Allowed,
        turned: Turned,
        keys: Keys,
        public_url: str,
    ) -> None:
        self._identify = identify
        self._permit = permit
        self._allowed = allowed
        self._turned = turned
        self._keys = keys
        self.public_url = public_url
        self._resource = resources.resource(public_url)

    def guard(self, entry: Entry) -> Callable[[HttpRequest], Awaitable[HttpResponse]]:
        """The handler of an entry behind the door, as a route takes it."""

        async def guarded(request: HttpRequest) -> HttpResponse:
            try:
                return await self._handle(entry, request, await self._enter(entry, request))
            except (Refused, Fault) as failure:
                return self._explain(failure)

        return guarded

    async def _enter(self, entry: Entry, request: HttpRequest) -> Principal:
        principal: Principal | None = None
        try:
            caller = await self._identify(request)  # 1
            principal = caller.principal
            self._permit(caller)  # 2
            if entry.permission is not None:
                _for_themselves(principal)
                self._may(caller, entry.permission)  # 3
        except Refused as why:
            await self._turned(request, principal, why)
            raise
        return principal

    def _may(self, caller: Authenticated, permission: Permission) -> None:
        """The role needs no policy: who has to stop an attack must get in also where policy is what fails."""
        if ADMIN in caller.principal.roles or self._allowed(caller, permission):
            return
        text = f"This needs the role admin, or a policy that allows admin:{permission} to you."
        raise Refused(Stage.AUTHORIZE, 40301, "admin_role_required", text)

    async def _handle(self, entry: Entry, request: HttpRequest, principal: Principal) -> HttpResponse:
        async def change() -> HttpResponse:
            return await entry.handler(request, principal)  # 5

        if not entry.writes:
            return await change()
        if not entry.versioned and request.header("if-match") not in (None, "*"):
            raise mismatch()  # there is no version that it could be
        if entry.keys == "handler":
            return await change()
        return await self._keys.once(request, principal, change)  # 4

    def _explain(self, failure: Refused | Fault) -> HttpResponse:
        if isinstance(failure, Unauthenticated):
            header = ("www-authenticate", challenge(failure, self._resource))
            return problem(failure.http, failure.reason, failure.text, headers=(header,))
        again = failure.retry_after
        headers: Headers = (("retry-after", str(again)),) if again is not None else ()
        if isinstance(failure, Fault):
            return problem(503, failure.reason, failure.text, headers=headers)
        if isinstance(failure, Rejected):
            return problem(failure.http, failure.reason, failure.text, more=failure.data)
        return problem(_HTTP.get(failure.code, 400), failure.reason, failure.text, headers=headers)


def _for_themselves(principal: Principal) -> None:
    """A client that somebody allowed to call tools is no administrator, although that person may be one."""
    if principal.auth == "login":
        text = "A token that a client got by a login opens no administration: use one of your own."
        raise Refused(Stage.AUTHORIZE, 40301, "admin_role_required", text)


def problem(
    status: int, code: str, detail: str, *, more: dict[str, object] | None = None, headers: Headers = ()
) -> HttpResponse:
    """Problem details. `code` is the stable word of `docs/errors.md`; `more` are members of this problem."""
    told = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **(more or {}),
    }
    return HttpResponse(
        status=status,
        body=msgspec.json.encode(told),
        headers=(("content-type", "application/problem+json"), ("cache-control", "no-store"), *headers),
    )
