"""`/api/v1/servers/{id}`: taking a configured server out of service, everywhere, and putting it back.

Out of service is a lease without an end, so the configuration is never rewritten and every worker enforces it
like any other lease: the server is in no list, new calls are refused, running ones are cut. Putting it back
takes two people while an open incident names the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypedDict

import msgspec

from airlock.api import lease_shown, leasing
from airlock.api.entries import Entry, document, invalid
from airlock.api.leasing import NO_REASON, PATIENCE, Leasing, Wanted
from airlock.core.errors import Rejected
from airlock.mcp import strict
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import Lease, Selector
from airlock.model.principal import Principal
from airlock.store.servers import disabling

ALLOWED = ("active", "inactive")
"""Statuses that an operator sets. `registered`, `unhealthy` and `decommissioned` are none of a configured
server."""


class Gathered(Protocol):
    """The answers of every worker; None of one that gave none."""

    @property
    def answers(self) -> Sequence[Mapping[str, Any] | None]: ...


Ask = Callable[[], Awaitable[Gathered]]
"""Asks every worker what its leases cut."""


class Status(TypedDict):
    """Whether a server is in service."""

    status: str


class Changed(TypedDict):
    """What became of a server. `sessions_closed`: sessions of clients that had a call open there; null: not
    every worker has said how many."""

    id: str
    before: Status
    after: Status
    sessions_closed: int | None
    calls_cancelled: int | None
    epoch: int
    replicas_acked: int
    replicas_total: int
    missing: list[str]
    lease_id: str
    audit_seq: int | None


class Patch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `PATCH /api/v1/servers/{id}` takes."""

    status: str
    reason: str = ""
    incident: str = ""


class ServersApi:
    """The configured servers, for those who contain."""

    def __init__(
        self, *, leasing: Leasing, names: Callable[[], Sequence[str]], ask: Ask | None = None
    ) -> None:
        """`names` are those of the configured servers; without `ask` nobody runs who could cut a call."""
        self._leasing = leasing
        self._names = names
        self.ask = ask

    async def patch(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Take a server out of service, or put it back; what is so already stays so."""
        asked, name = document(request, Patch), request.params["id"]
        if name not in self._names():
            text = f"There is no server {name[:64]!r}: {', '.join(self._names()) or 'none is configured'}."
            raise Rejected(404, strict.INVALID_REQUEST, "server_unknown", text)
        if asked.status not in ALLOWED:
            text = f"{asked.status[:64]!r} cannot be set: {' or '.join(ALLOWED)}."
            raise invalid("server_status_invalid", text, allowed=list(ALLOWED))
        held = disabling(await self._leasing.listing(include_ended=False, action="server.disable"), name)
        reason = asked.reason or NO_REASON
        if asked.status == "active":
            return await self._restore(admin, name, held, reason)
        lasting = [each for each in held if each.expires_at is None]
        if lasting:
            return await self._stays(name, lasting[0], "inactive")
        incident = leasing.incident(asked.incident)
        return await self._isolate(request, admin, name, held, (reason, incident))

    async def _isolate(
        self,
        request: HttpRequest,
        admin: Principal,
        name: str,
        held: Sequence[Lease],
        why: tuple[str, str],
    ) -> HttpResponse:
        wanted = Wanted(
            action="server.disable",
            selector=Selector(server=name),
            ttl=None,
            reason=why[0],
            incident=why[1],
            origin="registry",
            for_good=True,
        )
        outcome = await self._leasing.give(request, admin, [wanted])
        sessions, calls = await self._cut(outcome.leases[0].id)
        before = "inactive" if held else "active"
        return _told(name, (before, "inactive"), outcome, sessions=sessions, calls=calls)

    async def _restore(self, admin: Principal, name: str, held: Sequence[Lease], reason: str) -> HttpResponse:
        if not held:
            return await self._stays(name, None, "active")
        outcome = await self._leasing.take_back_all(admin, [each.id for each in held], reason)
        left = disabling(await self._leasing.listing(include_ended=False, action="server.disable"), name)
        return _told(name, ("inactive", "inactive" if left else "active"), outcome)

    async def _stays(self, name: str, lease: Lease | None, status: str) -> HttpResponse:
        """Nothing is changed; who enforces what holds is said all the same."""
        outcome = await asyncio.to_thread(self._leasing.standing, lease)
        return _told(name, (status, status), outcome)

    async def _cut(self, lease: str) -> tuple[int | None, int | None]:
        """Sessions and calls that this lease ended; None where a worker does not say so in time."""
        if self.ask is None:
            return 0, 0
        sessions: set[str] = set()
        calls = 0
        try:
            async with asyncio.timeout(PATIENCE):
                answers = (await self.ask()).answers
        except TimeoutError:
            return None, None
        for answer in answers:
            if answer is None:
                return None, None
            number, closed = answer.get(lease, (0, ()))
            calls += number
            sessions.update(closed)
        return len(sessions), calls


def _told(
    name: str,
    status: tuple[str, str],
    outcome: lease_shown.Outcome,
    *,
    sessions: int | None = 0,
    calls: int | None = 0,
) -> HttpResponse:
    told = {
        "id": name,
        "before": {"status": status[0]},
        "after": {"status": status[1]},
        "sessions_closed": sessions,
        "calls_cancelled": calls,
        **outcome.told,
        "lease_id": outcome.leases[0].id if outcome.leases else "",
    }
    return json_response(outcome.status, told)


def entries(api: ServersApi) -> tuple[Entry, ...]:
    """The addresses of servers."""
    entry = Entry(
        method="PATCH",
        path="/api/v1/servers/{id}",
        permission="servers.write",
        summary="Take a server out of service, or put it back.",
        handler=api.patch,
        takes=Patch,
        gives=Changed,
        statuses=(200, 207),
    )
    return (entry,)
