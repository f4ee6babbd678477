"""`/api/v1/leases`: containment of whatever kind, given, looked at and taken back."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import msgspec

from airlock.api import lease_shown, leasing, proposal_shown
from airlock.api.entries import Entry, document, invalid, query
from airlock.api.lease_shown import Shown
from airlock.api.leasing import Leasing, Wanted, Why, fit
from airlock.api.persons import person
from airlock.api.proposals import ProposalsApi
from airlock.core.clock import Clock
from airlock.incident import approval
from airlock.model.effective import Decided, explain, read_scope
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import Action, read_action, read_selector
from airlock.model.principal import Principal
from airlock.model.proposal import Order as Asked


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /api/v1/leases` takes. Without `ttl` the lease lasts as long as is usual for its action."""

    action: str
    selector: dict[str, str] = {}
    ttl: str = ""
    reason: str
    incident: str = ""


class Extend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an extension takes: how long the lease is to last from now on."""

    ttl: str
    reason: str = ""


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked about: `tenant=acme,subject=bob,server=docs,tool=read`."""

    scope: str = ""


class Effective(msgspec.Struct, frozen=True):
    """Settings that leases tighten for a scope, and the leases that decide each."""

    scope: dict[str, str]
    epoch: int
    settings: list[Decided]
    leases: list[Shown]


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`all`: those that ended too."""

    state: Literal["active", "all"] = "active"


class Listed(msgspec.Struct, frozen=True):
    """Leases, the oldest first."""

    leases: list[Shown]


class One(msgspec.Struct, frozen=True):
    """One lease."""

    lease: Shown


class Given(TypedDict, total=False):
    """A lease that was given or taken back, and who enforces that; or, with 202, the proposal that waits
    instead."""

    lease_id: str
    lease: Shown
    epoch: int
    replicas_acked: int
    replicas_total: int
    missing: list[str]
    audit_seq: int | None
    proposal: dict[str, Any]


class LeasesApi:
    """Leases, for administrators."""

    def __init__(self, *, leasing: Leasing, proposals: ProposalsApi, clock: Clock) -> None:
        self._leasing = leasing
        self._proposals = proposals
        self._clock = clock

    async def give(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Give one lease. Whoever may not approve what they ask for gets 202 and a proposal instead."""
        asked = document(request, Order)
        action: Action = fit(lambda: read_action(asked.action))
        order = Asked(
            action=action,
            selector=asked.selector,
            ttl=leasing.seconds(asked.ttl),
            reason=asked.reason,
            incident=leasing.incident(asked.incident),
        )
        judged = fit(lambda: approval.judge(approval.checked(order), None))
        if not approval.by_asking(judged, person(admin)):
            proposal = await self._proposals.kept(request, admin, order)
            return json_response(202, {"proposal": proposal_shown.shown(proposal, self._clock.wall())})
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
        found = await self._leasing.listing(include_ended=query(request, Filter).state == "all")
        now = self._clock.wall()
        return json_response(200, {"leases": [lease_shown.shown(lease, now) for lease in found]})

    async def show(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """One lease, in force or not."""
        lease = await self._leasing.find(request.params["id"])
        return json_response(200, {"lease": lease_shown.shown(lease, self._clock.wall())})

    async def release(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """End one lease before its time; what other leases demand still holds."""
        reason = leasing.why(request)
        return self._answer(await self._leasing.take_back(admin, request.params["id"], reason))

    async def extend(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Let one lease last longer, up to the longest of its action."""
        asked = document(request, Extend)
        ttl = leasing.seconds(asked.ttl)
        if ttl is None:
            raise invalid("duration_invalid", "Say how long: 30m, 1h.")
        id, reason = request.params["id"], asked.reason or leasing.NO_REASON
        return self._answer(await self._leasing.extend(admin, id, ttl, reason))

    async def effective(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """What is in force for a scope, and which leases decide it."""
        scope = fit(lambda: read_scope(query(request, About).scope))
        held, now = await self._leasing.listing(include_ended=False), self._clock.wall()
        settings = explain(held, scope, now)
        deciding = {id for setting in settings for id in setting.decided_by}
        return json_response(
            200,
            {
                "scope": scope,
                "epoch": max((lease.epoch for lease in held), default=0),
                "settings": settings,
                "leases": [lease_shown.shown(lease, now) for lease in held if lease.id in deciding],
            },
        )

    def _answer(self, outcome: lease_shown.Outcome) -> HttpResponse:
        (lease,) = outcome.leases
        shown = lease_shown.shown(lease, self._clock.wall())
        return json_response(outcome.status, {"lease_id": lease.id, "lease": shown, **outcome.told})


def entries(api: LeasesApi) -> tuple[Entry, ...]:
    """The addresses of leases."""
    return (
        Entry(
            method="POST",
            path="/api/v1/leases",
            permission="leases.write",
            summary="Give a lease.",
            handler=api.give,
            takes=Order,
            gives=Given,
            statuses=(200, 202, 207),
            keys="handler",
        ),
        Entry(
            method="GET",
            path="/api/v1/leases",
            permission="incidents.read",
            summary="List leases in force.",
            handler=api.list,
            asks=Filter,
            gives=Listed,
        ),
        Entry(
            method="GET",
            path="/api/v1/leases/effective",
            permission="incidents.read",
            summary="Say what is in force for a scope, and which leases decide it.",
            handler=api.effective,
            asks=About,
            gives=Effective,
        ),
        Entry(
            method="POST",
            path="/api/v1/leases/{id}/extend",
            permission="leases.write",
            summary="Let a lease last longer.",
            handler=api.extend,
            takes=Extend,
            gives=Given,
            statuses=(200, 207),
        ),
        Entry(
            method="POST",
            path="/api/v1/leases/{id}/release",
            permission="leases.write",
            summary="Release a lease.",
            handler=api.release,
            takes=Why,
            optional=True,
            gives=Given,
            statuses=(200, 207),
        ),
        Entry(
            method="GET",
            path="/api/v1/leases/{id}",
            permission="incidents.read",
            summary="Show a lease.",
            handler=api.show,
            gives=One,
        ),
        Entry(
            method="DELETE",
            path="/api/v1/leases/{id}",
            permission="leases.write",
            summary="Release a lease.",
            handler=api.release,
            takes=Why,
            optional=True,
            gives=Given,
            statuses=(200, 207),
        ),
    )
