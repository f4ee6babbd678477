"""`/api/v1/incidents/{id}/clocks`: what has to have happened until when, computed at the time of asking."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from airlock.api.deciding import Deciding, One, built, dated
from airlock.api.entries import Entry
from airlock.incident import orders, regulation
from airlock.incident.notice import every_clock, look
from airlock.incident.occasion import Occasion
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import Decided, Incident
from airlock.model.principal import Principal


class Clocks(msgspec.Struct, frozen=True):
    """Every clock of an incident, times in RFC 3339."""

    clocks: list[dict[str, Any]]


class ClocksApi:
    """The clocks of an incident."""

    def __init__(self, deciding: Deciding) -> None:
        self.deciding = deciding

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Every clock: those of the severity, the review, duties to notify, leases."""
        deciding = self.deciding
        record, now = await deciding.find(request.params["id"]), deciding.clock.wall()
        seen = await asyncio.to_thread(look, deciding.store, record.id, now)
        found = every_clock(record, seen.terms, deciding.law(), now)
        return json_response(200, Clocks(clocks=[dated(built(clock)) for clock in found]))

    def start(self, incident: Incident, order: orders.StartRegulatory, when: Occasion) -> Decided:
        """A duty to notify began to run, or does not apply."""
        return regulation.start(incident, order, when, self.deciding.law())

    def meet(self, incident: Incident, order: orders.MeetRegulatory, when: Occasion) -> Decided:
        """A stage of it was done."""
        return regulation.meet(incident, order, when, self.deciding.law())


def entries(api: ClocksApi) -> tuple[Entry, ...]:
    """The addresses of clocks."""
    at = "/api/v1/incidents/{id}/clocks"
    return (
        Entry(
            method="GET",
            path=at,
            permission="incidents.read",
            summary="List clocks.",
            handler=api.list,
            gives=Clocks,
        ),
        Entry(
            method="POST",
            path=at,
            permission="incidents.write",
            summary="Start a duty to notify, or say why it does not apply.",
            handler=api.deciding.handler(orders.StartRegulatory, api.start),
            takes=orders.StartRegulatory,
            gives=One,
            versioned=True,
        ),
        Entry(
            method="POST",
            path=f"{at}/met",
            permission="incidents.write",
            summary="Say that a stage of such a duty was done.",
            handler=api.deciding.handler(orders.MeetRegulatory, api.meet),
            takes=orders.MeetRegulatory,
            gives=One,
            versioned=True,
        ),
    )
