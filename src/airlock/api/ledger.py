"""What the audit log hears of logins: who logged in for which client, what was refused, what ended.

What strangers cause is counted in aggregates, as every refusal before authentication is; a row of its own has
what only the holder of a real state, code or token can cause. A state is given to everybody who asks, so of
the refusals of those only a few in a second have one. No state, code or token stands in any of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.core.errors import Fault, LinkRefused, Refused, Unauthenticated
from airlock.identity.login import Login
from airlock.model.entry import Event, Personal
from airlock.model.http import HttpRequest, HttpResponse

LINES = 20
"""Lines about strangers in a second."""

ROWS = 10
"""Rows about states in a second."""

Seal = Callable[[Event], Awaitable[object]]
Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Ledger:
    """Writes rows and lines of logins. Its methods raise `AuditFault` where a row cannot be made durable."""

    def __init__(
        self,
        *,
        seal: Seal,
        stranger: Callable[[HttpRequest, Refused | Fault], Awaitable[None]],
        clock: Clock,
        log: Logger,
    ) -> None:
        self._lines = _Few(LINES, clock)
        self._rows = _Few(ROWS, clock)
        self._seal = seal
        self._stranger = stranger
        self._log = log

    async def turned_away(self, request: HttpRequest, failure: Refused | Fault) -> None:
        """A refusal that anybody can cause: a few lines in a second, and rows that say how many."""
        metrics.auth_failed(failure.reason)
        if self._lines.more():
            self._say(request, failure)
        await self._stranger(request, failure)

    async def refused(self, request: HttpRequest, failure: Refused | Fault, who: Login | None) -> None:
        """A refusal that needs a real state (`who` is None), code or token: somebody else may have it."""
        if who is None and not self._rows.more():
            await self.turned_away(request, failure)
            return
        metrics.auth_failed(failure.reason)
        self._say(request, failure)
        decision = "error" if isinstance(failure, Fault) else "deny"
        severity = "MEDIUM" if isinstance(failure, Fault) else "HIGH"
        event = Event(
            event_type="auth",
            action="login",
            decision=decision,
            reason=failure.reason,
            severity=severity,
            metadata={"because": because(failure)} if because(failure) else {},
        )
        await self._seal(_about(event, request, who))

    async def login(self, request: HttpRequest, who: Login) -> None:
        """Somebody logged in for a client."""
        self._log.info("login", reason="ok", client=who.client)
        event = Event(event_type="auth", action="login", decision="allow", metadata={"acr": who.acr})
        await self._seal(_about(event, request, who))

    async def logout(self, request: HttpRequest, who: Login) -> None:
        """A login ended because its owner wanted it."""
        self._log.info("logout", reason="ok", client=who.client)
        event = Event(event_type="auth", action="logout", decision="allow")
        await self._seal(_about(event, request, who))

    def calm(self, handle: Handler, say: Callable[[Fault], HttpResponse]) -> Handler:
        """The handler, with an answer for what fails on our side: the store, or the log itself."""

        async def calmly(request: HttpRequest) -> HttpResponse:
            try:
                return await handle(request)
            except Fault as failure:
                reason = failure.reason
                self._log.error("request_failed", stage="authenticate", reason=reason, detail=failure.detail)
                return say(failure)

        return calmly

    def _say(self, request: HttpRequest, failure: Refused | Fault) -> None:
        detail = failure.detail if isinstance(failure, Fault) else because(failure)
        self._log.warning("auth_failure", source_ip=request.source_ip, reason=failure.reason, detail=detail)


class _Few:
    """So many in a second, and no more."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._second = 0
        self._count = 0

    def more(self) -> bool:
        """Count one: whether it is among them."""
        second = int(self._clock.monotonic())
        self._count = self._count + 1 if second == self._second else 1
        self._second = second
        return self._count <= self._most


def _about(event: Event, request: HttpRequest, who: Login | None) -> Event:
    """The event with whom it is about, as far as that is known."""
    if who is None:
        return msgspec.structs.replace(event, personal=Personal(source_ip=request.source_ip))
    place = urlsplit(who.redirect_uri)
    return msgspec.structs.replace(
        event,
        resource=who.resource,
        tenant=who.tenant,
        identity={
            "auth": "login",
            "client_id": who.client,
            "redirect": f"{place.scheme}://{place.netloc}",
            "scopes": list(who.scopes),
            "roles": list(who.roles),
        },
        personal=Personal(source_ip=request.source_ip, issuer=who.issuer, subject=who.subject),
    )


def because(failure: Refused | Fault) -> str:
    """What lies behind a refusal, for the operator: the reason of a token, the detail of a fetch."""
    if isinstance(failure, LinkRefused):
        return failure.detail
    cause = failure.__cause__
    if isinstance(cause, Unauthenticated):
        return str(cause.reason)
    return cause.detail if isinstance(cause, Fault) else ""
