"""`/api/v1/leases`: containment of whatever kind, given, looked at and taken back."""

from __future__ import annotations

from typing import Literal

import msgspec

from airlock.api import leasing
from airlock.api.door import document, invalid
from airlock.api.leasing import Leasing, Wanted, fit
from airlock.core.clock import Clock
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import Action, read_action, read_selector
from airlock.model.principal import Principal


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /api/v1/leases` takes. Without `ttl` the lease lasts as long as is usual for its action."""

    action: str
    selector: dict[str, str]
    ttl: str = ""
    reason: str
    incident: str = ""


class LeasesApi:
    """Leases, for administrators."""

    def __init__(self, *, leasing: Leasing, clock: Clock) -> None:
        self._leasing = leasing
        self._clock = clock

    async def give(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Give one lease."""
        asked = document(request, Order)
        action: Action = fit(lambda: read_action(asked.action))
        wanted = Wanted(
            action=action,
            selector=fit(lambda: read_selector(action, asked.selector)),
            ttl=leasing.seconds(asked.ttl),
            reason=asked.reason,
            incident=leasing.incident(asked.incident),
            key=request.header("idempotency-key") or "",
        )
        return self._answer(await self._leasing.give(request, admin, [wanted]))

    async def list(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Leases in force; with `?state=all` those that ended too."""
        found = await self._leasing.listing(include_ended=_state(request.query) == "all")
        now = self._clock.wall()
        return json_response(200, {"leases": [leasing.shown(lease, now) for lease in found]})

    async def show(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """One lease, in force or not."""
        lease = await self._leasing.find(request.params["id"])
        return json_response(200, {"lease": leasing.shown(lease, self._clock.wall())})

    async def release(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """End one lease before its time; what other leases demand still holds."""
        reason = leasing.why(request)
        return self._answer(await self._leasing.take_back(admin, request.params["id"], reason))

    def _answer(self, outcome: leasing.Outcome) -> HttpResponse:
        (lease,) = outcome.leases
        shown = leasing.shown(lease, self._clock.wall())
        return json_response(outcome.status, {"lease_id": lease.id, "lease": shown, **outcome.told})


def _state(query: str) -> Literal["active", "all"]:
    """What the query asks for. Raises `Rejected` 422 `invalid_params`."""
    match query:
        case "" | "state=active":
            return "active"
        case "state=all":
            return "all"
        case _:
            raise invalid("invalid_params", "The query takes state=active or state=all.")
