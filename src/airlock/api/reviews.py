"""`/api/v1/reviews/{incident}/counterfactuals`: what would have told earlier, and what would have stopped it.

The answer is worked out by a program of its own and stands on the timeline of the incident, so that the
review cites it with its digest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from airlock.api.beside import Failing, answered
from airlock.api.deciding import Deciding, fit, found, human, order
from airlock.api.entries import INVALID_PARAMS, Entry
from airlock.core.config import Config
from airlock.core.errors import Rejected
from airlock.incident.containment import WATCHING
from airlock.incident.counterfactuals import Answer, Question
from airlock.incident.keeping import said
from airlock.incident.occasion import Occasion
from airlock.incident.orders import Order
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import IncidentEvent
from airlock.model.lease import Unfit
from airlock.model.principal import Principal
from airlock.store import alerts, incident_facts, incidents

PATIENCE = 240.0
"""Seconds for an answer."""

QUESTION = "counterfactuals"
"""What the event of the timeline is about."""


class Ask(Order, frozen=True, kw_only=True):
    """How many days before the detection the price of a rule is counted in."""

    days: Annotated[float, msgspec.Meta(ge=1, le=90)] = 30.0


class ReviewsApi:
    """Works out what would have been; one incident at a time in a worker."""

    def __init__(self, deciding: Deciding, *, base: Callable[[], Config]) -> None:
        self._deciding = deciding
        self._base = base
        self._busy = False

    async def show(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """The newest answer. Raises `Rejected` 404: `incident_unknown`, `counterfactuals_unknown`."""
        del who
        newest = await asyncio.to_thread(fit, lambda: self._newest(request.params["incident"]))
        return json_response(200, newest)

    async def ask(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Work it out, and write it on the timeline. Raises `Rejected` 404 `incident_unknown`, 409
        `counterfactuals_running`; `Fault` where the log cannot be read."""
        asked, id = order(request, Ask), request.params["incident"]
        question = await asyncio.to_thread(fit, lambda: self._question(id, asked.days))
        if self._busy:
            text = "This worker works out another one: ask again when that is done."
            raise Rejected(409, INVALID_PARAMS, "counterfactuals_running", text)
        self._busy = True
        try:
            answer = await _answered(question)
        finally:
            self._busy = False
        event = _event(answer, Occasion(actor=human(who), now=self._deciding.clock.wall()))
        await asyncio.to_thread(fit, lambda: incidents.append(self._deciding.store, id, [event]))
        return json_response(200, msgspec.to_builtins(answer))

    def _question(self, id: str, days: float) -> Question:
        store, now = self._deciding.store, self._deciding.clock.wall()
        given = incident_facts.leases_of(store, id, now=now)
        return Question(
            audit=str(Path(self._base().data_dir) / "audit.db"),
            incident=found(store, id),
            alerts=tuple(alerts.listing(store, incident=id)),
            leases=tuple(lease for lease in given if lease.action not in WATCHING),
            days=days,
        )

    def _newest(self, id: str) -> Any:
        found(self._deciding.store, id)
        for each in reversed(incidents.timeline(self._deciding.store, id)):
            if each.event.details.get("question") == QUESTION:
                return each.event.details["answer"]
        text = f"Nobody has asked yet: `airlock incident counterfactuals {id[:64]}`."
        raise Unfit("counterfactuals_unknown", text)


def _event(answer: Answer, when: Occasion) -> IncidentEvent:
    told = f"Counterfactuals: {len(answer.earlier)} rules earlier, {len(answer.sooner)} leases sooner"
    event = said(
        "query_run", when, told, question=QUESTION, digest=answer.digest, answer=msgspec.to_builtins(answer)
    )
    rows = dict.fromkeys(row for each in answer.earlier for row in each.event_ids[:1])
    return msgspec.structs.replace(event, refs=tuple(rows), basis="inferred", csf="ID")


_FAILING = Failing(reason="counterfactuals_failed", text="The log could not be played again.")


async def _answered(question: Question) -> Answer:
    return await answered("airlock.incident.hindsight", question, Answer, patience=PATIENCE, failing=_FAILING)


def entries(api: ReviewsApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    path = "/api/v1/reviews/{incident}/counterfactuals"
    return (
        Entry(
            method="GET",
            path=path,
            permission="incidents.read",
            summary="Show what would have been.",
            handler=api.show,
            gives=Answer,
        ),
        Entry(
            method="POST",
            path=path,
            permission="incidents.write",
            summary="Work out what would have been.",
            handler=api.ask,
            takes=Ask,
            optional=True,
            gives=Answer,
        ),
    )
