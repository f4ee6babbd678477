"""`/api/v1/incidents/{id}/watch`, and the watch that begins with the resolution of an incident.

A watch is a lease `monitoring.enhance` that names the incident. It is given in the transaction of the step,
so that a step which is refused leaves none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from airlock.api.deciding import Deciding, dated, order
from airlock.api.entries import Entry, Guarded, invalid, versioned
from airlock.api.leasing import actor
from airlock.core.units import duration
from airlock.incident import lifecycle, orders, watching
from airlock.incident.occasion import Occasion
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.incident import Decided, Incident
from airlock.model.lease import Lease
from airlock.model.principal import Principal
from airlock.store.changes import Change


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """The lease under which an incident is watched."""

    incident: str
    lease: str
    expires_at: str


def resolve(deciding: Deciding) -> Guarded:
    """A handler that resolves an incident, and begins to watch it where the order says how long."""

    async def handle(request: HttpRequest, who: Principal) -> HttpResponse:
        asked, id = order(request, orders.Resolve), request.params["id"]
        seconds = _seconds("watch", asked.watch) if asked.watch else 0.0
        held: list[Lease] = []

        def first(change: Change, when: Occasion) -> None:
            if seconds:
                held.append(watching.begin(change, id, seconds=seconds, actor=actor(who), now=when.now))

        def decide(incident: Incident, when: Occasion) -> Decided:
            facts = when.facts
            if held and seconds >= watching.WATCH:
                facts = msgspec.structs.replace(facts, monitoring_until=held[0].expires_at)
            return lifecycle.resolve(incident, asked, msgspec.structs.replace(when, facts=facts))

        changed = await deciding.apply(request, who, decide, first=first)
        return deciding.answer(200, changed.incident)

    return handle


def entry(deciding: Deciding) -> Entry:
    """The address that begins a watch."""

    async def handle(request: HttpRequest, who: Principal) -> HttpResponse:
        asked, id = order(request, orders.Watch), request.params["id"]
        seconds = _seconds("lasting", asked.lasting)
        held: list[Lease] = []

        def first(change: Change, when: Occasion) -> None:
            held.append(watching.begin(change, id, seconds=seconds, actor=actor(who), now=when.now))

        def decide(incident: Incident, when: Occasion) -> Decided:
            watching.may_begin(incident)
            return Decided(incident=incident)

        changed = await deciding.apply(request, who, decide, first=first)
        told: dict[str, Any] = dated({"expires_at": held[0].expires_at})
        return versioned(200, {"incident": id, "lease": held[0].id, **told}, changed.incident.version)

    return Entry(
        method="POST",
        path="/api/v1/incidents/{id}/watch",
        permission="incidents.write",
        summary="Watch it, so that trouble opens it again.",
        handler=handle,
        takes=orders.Watch,
        optional=True,
        gives=Watched,
        versioned=True,
    )


def _seconds(name: str, text: str) -> float:
    try:
        return duration(text)
    except ValueError as wrong:
        raise invalid("invalid_params", f"`{name}` is {wrong}: write `24h`.") from wrong
