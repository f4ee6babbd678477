"""`/api/v1/playbooks`: the playbooks that there are, tried without effect, or begun.

A run is written down here and carried out by the engine. Its variables come from the incident, its alerts,
and the request, which counts most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from airlock.api import runs_shown
from airlock.api.deciding import dated, human
from airlock.api.entries import Entry, document, query
from airlock.api.leasing import Leasing, fit
from airlock.api.persons import person
from airlock.core.clock import Clock, rfc3339
from airlock.core.config import Config
from airlock.incident.playbooks import journal, library, rehearse, starting
from airlock.incident.playbooks.library import FOLDER, Shelved
from airlock.incident.playbooks.weighing import weigh
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import Unfit
from airlock.model.playbook import Call, Mode, PlannedStep, Run
from airlock.model.principal import Principal
from airlock.store import alerts, drills, incidents, runs


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST .../runs` takes. `dry_run`: nothing is done, and every step is told."""

    incident: str = ""
    mode: Mode = "attended"
    dry_run: bool = False
    variables: dict[str, str] = {}


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which runs are listed."""

    incident: str = ""


class Listed(msgspec.Struct, frozen=True):
    """Playbooks by their id."""

    playbooks: list[dict[str, Any]]


class One(msgspec.Struct, frozen=True):
    """A playbook with its plan and its text, or with what is wrong with it."""

    playbook: dict[str, Any]


class Runs(msgspec.Struct, frozen=True):
    """Runs, the newest first."""

    runs: list[dict[str, Any]]


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has begun; or, of a dry run, every step and the variables that are missing."""

    run: dict[str, Any] | None = None
    dry_run: dict[str, Any] | None = None


class PlaybooksApi:
    """Playbooks, for those who respond."""

    def __init__(self, *, leasing: Leasing, base: Callable[[], Config], clock: Clock) -> None:
        self._store = leasing.store
        self._base = base
        self._clock = clock

    async def list(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Every playbook, also those that cannot be used."""
        found = await asyncio.to_thread(library.shelves, self._folder)
        proven = await asyncio.to_thread(drills.proven, self._store)
        return json_response(200, {"playbooks": [_line(each, proven) for each in found.values()]})

    async def show(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """One playbook."""
        id = request.params["id"]
        found = (await asyncio.to_thread(library.shelves, self._folder)).get(id)
        shelved = fit(lambda: _there(found, id))
        compiled = shelved.compiled
        plan = msgspec.to_builtins(compiled.plan) if compiled is not None else None
        proven = await asyncio.to_thread(drills.proven, self._store)
        return json_response(
            200, {"playbook": {**_line(shelved, proven), "plan": plan, "text": shelved.text}}
        )

    async def runs(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """The runs of one playbook, or of all under `*`."""
        id, incident = request.params["id"], query(request, Filter).incident
        found = await asyncio.to_thread(
            runs.listing, self._store, playbook="" if id == "*" else id, incident=incident
        )
        return json_response(200, {"runs": [runs_shown.line(run) for run in found]})

    async def start(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Begin a run: 201. A dry run does nothing: 200."""
        asked, id, now = document(request, Start), request.params["id"], self._clock.wall()

        def begin() -> HttpResponse:
            run = self._prepared(id, asked, who, now)
            if asked.dry_run:
                return json_response(200, {"dry_run": self._rehearsed(run, now)})
            starting.check(run)
            stored = journal.begin(self._store, run, human(who))
            return json_response(201, {"run": runs_shown.shown(stored)})

        return await asyncio.to_thread(lambda: fit(begin))

    def _prepared(self, id: str, asked: Start, who: Principal, now: float) -> Run:
        plan = library.find(self._folder, id).plan
        incident = incidents.get(self._store, asked.incident) if asked.incident else None
        if asked.incident and incident is None:
            raise incidents.unknown(asked.incident)
        if incident is not None and incident.status in incidents.ENDED:
            raise Unfit("incident_ended", f"{incident.id} is {incident.status}: nothing runs for it.")
        behind = alerts.listing(self._store, incident=incident.id) if incident is not None else []
        return starting.prepare(
            plan,
            incident=incident,
            alerts=behind,
            given=asked.variables,
            mode=asked.mode,
            by=person(who),
            now=now,
        )

    def _rehearsed(self, run: Run, now: float) -> dict[str, Any]:
        log_file = Path(self._base().data_dir) / "audit.db"

        def weighed(step: PlannedStep, call: Call) -> rehearse.Weighed:
            return weigh(self._store, log_file, run, step, call, now=now)

        return {
            "playbook": run.plan.id,
            "plan_digest": run.plan.digest,
            "incident": run.incident,
            "mode": run.mode,
            "active": run.plan.active,
            "variables": run.variables,
            "missing": rehearse.missing(run),
            "start": run.plan.start,
            "steps": msgspec.to_builtins(rehearse.rehearse(run, weighed)),
        }

    @property
    def _folder(self) -> Path:
        return Path(self._base().data_dir) / FOLDER


def _there(found: Shelved | None, id: str) -> Shelved:
    if found is None:
        raise Unfit("playbook_unknown", f"There is no playbook {id[:64]!r}: `airlock runbook list`.")
    return found


def _line(shelved: Shelved, proven: Mapping[str, float]) -> dict[str, Any]:
    """A playbook in a list. `proven`: when each last passed its drill."""
    told: dict[str, Any] = {
        "id": shelved.id,
        "source": shelved.source,
        "problems": [{"line": each.line, "text": each.text} for each in shelved.problems],
    }
    if shelved.compiled is None:
        return told
    plan = shelved.compiled.plan
    return told | dated({
        "title": plan.title,
        "types": plan.types,
        "severity_floor": plan.severity_floor,
        "triggers": plan.triggers,
        "owner": plan.owner,
        "active": plan.active,
        "reviewed_on": plan.reviewed_on,
        "last_drill": plan.last_drill,
        "last_proven": rfc3339(proven[plan.id]) if plan.id in proven else None,
        "pre_approved": plan.pre_approved,
        "steps": len(plan.steps),
        "digest": plan.digest,
    })  # fmt: skip


def entries(api: PlaybooksApi) -> tuple[Entry, ...]:
    """The addresses of playbooks."""
    return (
        Entry(
            method="GET",
            path="/api/v1/playbooks",
            permission="incidents.read",
            summary="List playbooks.",
            handler=api.list,
            gives=Listed,
        ),
        Entry(
            method="GET",
            path="/api/v1/playbooks/{id}",
            permission="incidents.read",
            summary="Show a playbook.",
            handler=api.show,
            gives=One,
        ),
        Entry(
            method="GET",
            path="/api/v1/playbooks/{id}/runs",
            permission="incidents.read",
            summary="List the runs of a playbook.",
            handler=api.runs,
            asks=Filter,
            gives=Runs,
        ),
        Entry(
            method="POST",
            path="/api/v1/playbooks/{id}/runs",
            permission="playbooks.run",
            summary="Run a playbook, or try it without effect.",
            handler=api.start,
            takes=Start,
            gives=Begun,
            statuses=(200, 201),
        ),
    )
