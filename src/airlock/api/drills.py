"""`/api/v1/drills`: drills of rules and playbooks asked for, and the scorecard of what was proven when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from airlock.api.entries import Entry, document, invalid
from airlock.api.leasing import actor
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.incident import scorecard
from airlock.incident.detect import catalogue
from airlock.incident.playbooks import library
from airlock.incident.scorecard import Line
from airlock.model.drill import Kind
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from airlock.store import drills
from airlock.store.database import Store

ALL = "*"
"""In the place of a subject: every rule and every playbook that can be used."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to drill: ids of rules and playbooks, or `*` for all."""

    subjects: tuple[str, ...]


class Asked(msgspec.Struct, frozen=True):
    """The drills that wait for the engine now."""

    drills: list[dict[str, Any]]


class Card(msgspec.Struct, frozen=True):
    """Every rule and playbook, rules first."""

    drills: list[Line]


class DrillsApi:
    """Drills, for those who respond. The engine runs them, one after the other."""

    def __init__(self, *, store: Store, base: Callable[[], Config], clock: Clock) -> None:
        self._store = store
        self._base = base
        self._clock = clock

    async def card(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """What was proven when."""
        del request, who
        return json_response(200, Card(drills=await asyncio.to_thread(self._card)))

    async def ask(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """202: they will be run. Raises `Rejected` 422 for what is no rule and no playbook."""
        named, by = document(request, Order).subjects, actor(who)
        if not self._base().incident.engine:
            text = "The engine, which runs drills, is switched off by incident.engine."
            raise invalid("engine_off", text)

        def ask() -> list[dict[str, Any]]:
            known: dict[str, Kind] = {id: kind for id, (kind, _) in self._subjects().items()}
            unknown = [each for each in named if each not in known and each != ALL]
            if unknown or not named:
                named_wrong = (
                    f"{unknown[0][:64]!r} is no rule and no playbook" if unknown else "Nothing is named"
                )
                raise invalid("drill_unknown", f"{named_wrong}: `airlock drill list` has them.")
            wanted: dict[str, Kind] = dict(known) if ALL in named else {each: known[each] for each in named}
            asked = drills.request(self._store, wanted, by=by, now=self._clock.wall())
            return [scorecard.shown(each) for each in asked]

        return json_response(202, Asked(drills=await asyncio.to_thread(ask)))

    def _card(self) -> list[Line]:
        now, results = self._clock.wall(), drills.results(self._store)
        proven = drills.proved(results)
        waiting = {each.subject for each in drills.wanted(self._store)}
        return [
            scorecard.line(
                id,
                kind,
                title,
                results.get(id, []),
                proven=proven.get(id),
                waiting=id in waiting,
                now=now,
            )
            for id, (kind, title) in self._subjects().items()
        ]

    def _subjects(self) -> dict[str, tuple[Kind, str]]:
        """Everything that can be drilled: kind and title by id."""
        found: dict[str, tuple[Kind, str]] = {
            rule.id: ("rule", rule.title) for rule in catalogue.rules().values()
        }
        folder = Path(self._base().data_dir) / library.FOLDER
        for shelved in library.shelves(folder).values():
            if shelved.compiled is not None:
                found.setdefault(shelved.id, ("playbook", shelved.compiled.plan.title))
        return found


def entries(api: DrillsApi) -> tuple[Entry, ...]:
    """The addresses of drills."""
    return (
        Entry(
            method="GET",
            path="/api/v1/drills",
            permission="incidents.read",
            summary="Show when each rule and playbook was last proven.",
            handler=api.card,
            gives=Card,
        ),
        Entry(
            method="POST",
            path="/api/v1/drills",
            permission="playbooks.run",
            summary="Drill rules and playbooks in a shadow of the gateway.",
            handler=api.ask,
            takes=Order,
            gives=Asked,
            statuses=(202,),
        ),
    )
