"""`/api/v1/grants` and `/api/v1/incidents/{id}/debt`: what was loosened, and who passed by it.

A grant is asked for as a proposal (`failmode.open`) and given by the second person who agrees; here it is
looked at, ended before its time, and its calls are waived where policy cannot be asked again.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from airlock.api.deciding import dated, human
from airlock.api.entries import Entry, document, optional
from airlock.api.leasing import NO_REASON, Leasing, actor, fit
from airlock.api.persons import agreed, person
from airlock.core.clock import Clock
from airlock.incident import debt as debts
from airlock.incident.texts import needed
from airlock.model.grant import Debt, Grant
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import IncidentEvent
from airlock.model.principal import Principal
from airlock.store import grants, incident_facts


class End(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ending a grant takes."""

    reason: str = ""


class Waive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What waiving a call takes."""

    reason: str


class Listed(msgspec.Struct, frozen=True):
    """Grants, the oldest first."""

    grants: list[dict[str, Any]]


class One(msgspec.Struct, frozen=True):
    """A grant."""

    grant: dict[str, Any]


class Owed(msgspec.Struct, frozen=True):
    """Calls that grants let through, how many of them are open, and grants of which more may still come."""

    debt: list[dict[str, Any]]
    open: int
    counting: tuple[str, ...]


class GrantsApi:
    """Loosening grants."""

    def __init__(self, *, leasing: Leasing, clock: Clock) -> None:
        self._leasing = leasing
        self._store = leasing.store
        self._clock = clock

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Every grant, those that are over too."""
        found = await asyncio.to_thread(grants.listing, self._store)
        return json_response(200, Listed(grants=[self._shown(each) for each in found]))

    async def end(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """End a grant before its time: that tightens, and takes one person."""
        reason, id, by = optional(request, End).reason or NO_REASON, request.params["id"], actor(who)
        now = self._clock.wall()

        def told(ended: Grant) -> IncidentEvent:
            return self._event(who, f"Failing open was ended: {reason}", {"grant": ended.id})

        ended = await asyncio.to_thread(
            lambda: fit(lambda: grants.end(self._store, id=id, by=by, reason=reason, now=now, told=told))
        )
        await self._leasing.look()
        return json_response(200, One(grant=self._shown(ended)))

    async def debt(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """The calls that the grants of an incident let through."""
        id = request.params["id"]
        return json_response(200, await asyncio.to_thread(lambda: self._owed(id)))

    async def waive(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Let a call go that cannot be judged; two people do. 202 while one is missing."""
        fit(lambda: agreed(who))
        reason, by = document(request, Waive).reason, person(who)
        id, item = request.params["id"], request.params["item"]

        def told(waived: Debt) -> IncidentEvent:
            summary = f"A call that passed without a decision was waived: {reason}"
            return self._event(who, summary, {"debt": waived.id, "state": waived.state})

        def work() -> Debt:
            why = needed("reason", reason)
            return grants.waive(
                self._store,
                incident=id,
                id=item,
                decide=lambda found: debts.waived(found, by=by.id, reason=why),
                told=told,
            )

        waived = await asyncio.to_thread(lambda: fit(work))
        owed = await asyncio.to_thread(lambda: self._owed(id, waived))
        return json_response(202 if waived.state == "open" else 200, owed)

    def _event(self, who: Principal, summary: str, details: dict[str, object]) -> IncidentEvent:
        now = self._clock.wall()
        return IncidentEvent(
            kind="decision",
            at=now,
            occurred_at=now,
            actor=human(who),
            summary=summary[:1000],
            details=details,
        )

    def _owed(self, incident: str, *only: Debt) -> Owed:
        """Of `only` these calls, or of all. What may still come is looked at first."""
        counting = incident_facts.uncounted(self._store, incident)
        found = only or grants.debt(self._store, incident=incident)
        return Owed(
            debt=[msgspec.to_builtins(each) for each in found],
            open=sum(each.state == "open" for each in found),
            counting=counting,
        )

    def _shown(self, grant: Grant) -> dict[str, Any]:
        told: dict[str, Any] = dated(msgspec.to_builtins(grant))
        return {**told, "in_force": grant.holds(self._clock.wall())}


def entries(api: GrantsApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    return (
        Entry(
            method="GET",
            path="/api/v1/grants",
            permission="incidents.read",
            summary="List loosening grants.",
            handler=api.list,
            gives=Listed,
        ),
        Entry(
            method="POST",
            path="/api/v1/grants/{id}/end",
            permission="leases.write",
            summary="End a grant before its time.",
            handler=api.end,
            takes=End,
            optional=True,
            gives=One,
        ),
        Entry(
            method="GET",
            path="/api/v1/incidents/{id}/debt",
            permission="incidents.read",
            summary="List the calls that grants let through.",
            handler=api.debt,
            gives=Owed,
        ),
        Entry(
            method="POST",
            path="/api/v1/incidents/{id}/debt/{item}/waive",
            permission="proposals.approve",
            summary="Waive a call that policy cannot judge any more.",
            handler=api.waive,
            takes=Waive,
            gives=Owed,
            statuses=(200, 202),
        ),
    )
