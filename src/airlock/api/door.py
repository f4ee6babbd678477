"""The door of the management API: who may come in, what a body may be, and how a refusal is answered.

1 the bearer token counts, and names the gateway; cookies are never looked at
2 its owner is not contained
3 its owner has the role `admin`, and got it for themselves: not a client, by a login at this gateway
4 the handler; what it raises is answered as problem details (RFC 9457)

Whoever is turned away before 4 is recorded. Only a bearer token opens the door, and no page can make a
browser send one: so a body counts by what it is, whatever its `Content-Type` says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import msgspec

from airlock.core.errors import Fault, Refused, Rejected, Stage, Unauthenticated
from airlock.identity import resources
from airlock.identity.challenge import challenge
from airlock.mcp import strict
from airlock.model.call import Authenticated
from airlock.model.http import Headers, HttpRequest, HttpResponse
from airlock.model.principal import Principal

ADMIN = "admin"
"""The role that opens the management API. It is the operator's, over every tenant."""

BODY = 64 * 1024
"""Bytes of a body: a thousand addresses fit."""

INVALID_PARAMS = -32602

_HTTP = {40301: 403, 40302: 403, 42901: 429, 42902: 429}
"""Status of a refusal by its code; everything else that is refused is a bad request."""

_Document = TypeVar("_Document", bound=msgspec.Struct)

Identify = Callable[[HttpRequest], Awaitable[Authenticated]]
"""Verifies the bearer token of a request. Raises `Unauthenticated`."""

Guarded = Callable[[HttpRequest, Principal], Awaitable[HttpResponse]]
"""A handler that knows which administrator asks."""


class Turned(Protocol):
    """Records who was turned away: `principal` is None for a stranger. Raises `AuditFault`."""

    async def __call__(self, request: HttpRequest, principal: Principal | None, why: Refused, /) -> None: ...


class Door:
    """Guards the handlers of the management API. `permit` raises `Refused` for a contained caller, `Fault`
    where that cannot be known."""

    def __init__(
        self,
        *,
        identify: Identify,
        permit: Callable[[Authenticated], None],
        turned: Turned,
        public_url: str,
    ) -> None:
        self._identify = identify
        self._permit = permit
        self._turned = turned
        self._resource = resources.resource(public_url)

    def guard(self, handle: Guarded) -> Callable[[HttpRequest], Awaitable[HttpResponse]]:
        """The handler behind the door, as a route takes it."""

        async def guarded(request: HttpRequest) -> HttpResponse:
            try:
                return await handle(request, await self._admin(request))
            except (Refused, Fault) as failure:
                return self._explain(failure)

        return guarded

    async def _admin(self, request: HttpRequest) -> Principal:
        principal: Principal | None = None
        try:
            caller = await self._identify(request)  # 1
            principal = caller.principal
            self._permit(caller)  # 2
            _require_admin(principal)  # 3
        except Refused as why:
            await self._turned(request, principal, why)
            raise
        return principal

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


def _require_admin(principal: Principal) -> None:
    """A client that somebody allowed to call tools is no administrator, although that person may be one."""
    if ADMIN not in principal.roles:
        raise Refused(Stage.AUTHORIZE, 40301, "admin_role_required", "This needs the role admin.")
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


def invalid(reason: str, text: str, **more: object) -> Rejected:
    """A request that is understood and cannot be carried out (422)."""
    return Rejected(422, INVALID_PARAMS, reason, text, data=more)


def document(request: HttpRequest, kind: type[_Document]) -> _Document:
    """The body as `kind`. Raises `Rejected`: 400 for what is no JSON object, 422 for a wrong member."""
    value: Any = strict.parse(request.body)
    if not strict.is_object(value):
        raise Rejected(400, strict.INVALID_REQUEST, "not_an_object", "The body is not a JSON object.")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as wrong:
        raise invalid("invalid_params", f"{wrong}.") from wrong
