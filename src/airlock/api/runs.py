"""`/api/v1/runs`: a run of a playbook as it stands, the answers of people, and its way back.

Letting a step go is an approval: it takes a person who may approve, and nobody counts twice for one step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from airlock.api import runs_shown
from airlock.api.deciding import human
from airlock.api.entries import Entry, document
from airlock.api.leasing import Leasing, fit
from airlock.api.leasing import actor as name
from airlock.api.persons import person
from airlock.core.clock import Clock
from airlock.incident.playbooks import answers, journal, progress
from airlock.incident.playbooks.answers import Answer, Decision
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import LONGEST_TEXT, RULES, Lease, Unfit
from airlock.model.playbook import Run, StepRun
from airlock.model.principal import Principal
from airlock.store import leases, runs
from airlock.store.runs import Journal, Stored


class Answered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST .../steps/{step}` takes. `output`: what a person saw; its digest goes into the audit log."""

    decision: Decision
    output: str = ""
    reason: str = ""


class Ordered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST .../runs/{id}` takes."""

    command: Literal["cancel"]
    reason: str


class Back(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a way back takes."""

    reason: str


class One(msgspec.Struct, frozen=True):
    """A run with its steps."""

    run: dict[str, Any]


class RolledBack(msgspec.Struct, frozen=True, kw_only=True):
    """A run after its way back: the leases that were released, those that cannot be, and who enforces it."""

    run: dict[str, Any]
    released: list[str]
    irreversible: list[str]
    enforced: dict[str, Any] | None = None


class RunsApi:
    """Runs, for those who respond."""

    def __init__(self, *, leasing: Leasing, clock: Clock) -> None:
        self._leasing = leasing
        self._store = leasing.store
        self._clock = clock

    async def show(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """A run as it stands."""
        return _told(await self._found(request.params["id"]))

    async def answer(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Let a step go, or say what came of it."""
        asked, id, step = document(request, Answered), request.params["id"], request.params["step"]
        said = Answer(decision=asked.decision, by=name(who), output=asked.output, reason=asked.reason)
        now = self._clock.wall()

        def decide(run: Run, known: Journal) -> tuple[Run, Sequence[StepRun]]:
            _may(who, asked.decision)
            after, entry = answers.answered(run, known, step, said, now)
            onward, further = progress.onward(after, {**known, step: entry}, now)
            return onward, [entry, *further]

        return _told(await self._written(id, decide, who, now))

    async def order(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """End a run: the step that is being carried out is still finished, and no other begins."""
        asked, now = document(request, Ordered), self._clock.wall()

        def decide(run: Run, known: Journal) -> tuple[Run, Sequence[StepRun]]:
            return answers.cancelled(run, name(who), _reason(asked.reason), now), ()

        return _told(await self._written(request.params["id"], decide, who, now))

    async def roll_back(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Release what the run contained; what is for good is told."""
        reason = fit(lambda: _reason(document(request, Back).reason))
        stored = await self._found(request.params["id"])
        fit(lambda: _may_go_back(stored.run))
        held = await asyncio.to_thread(self._held, stored)
        ended = [lease.id for lease in held if RULES[lease.action].longest is not None]
        outcome = await self._leasing.take_back_all(who, ended, reason) if ended else None
        now = self._clock.wall()

        def decide(run: Run, known: Journal) -> tuple[Run, Sequence[StepRun]]:
            text = f"{reason} (rolled back by {name(who)})"
            return msgspec.structs.replace(run, state="rolled_back", ended_at=now, detail=text), ()

        after = await self._written(request.params["id"], decide, who, now)
        told = {
            "run": runs_shown.shown(after),
            "released": ended,
            "irreversible": [lease.id for lease in held if lease.id not in ended],
            "enforced": outcome.told if outcome is not None else None,
        }
        return json_response(outcome.status if outcome is not None else 200, told)

    def _held(self, stored: Stored) -> list[Lease]:
        """The leases of the run that are in force."""
        now = self._clock.wall()
        found = (leases.get(self._store, id=entry.lease, now=now) for entry in stored.journal.values())
        return [lease for lease in found if lease is not None and lease.holds(now)]

    async def _found(self, id: str) -> Stored:
        found = await asyncio.to_thread(runs.get, self._store, id)
        return fit(lambda: _there(found, id))

    async def _written(self, id: str, decide: runs.Decide, who: Principal, now: float) -> Stored:
        return await asyncio.to_thread(
            lambda: fit(lambda: journal.write(self._store, id, decide, by=human(who), now=now))
        )


def _told(stored: Stored) -> HttpResponse:
    return json_response(200, {"run": runs_shown.shown(stored)})


def _there(found: Stored | None, id: str) -> Stored:
    if found is None:
        raise runs.unknown(id)
    return found


def _may(who: Principal, decision: Decision) -> None:
    """Whether this credential may decide so. Raises `Unfit`: `approver_automation`, `approver_required`."""
    by = person(who)
    if by.machine:
        raise Unfit("approver_automation", "A program never approves: it takes a person.")
    if decision in ("go", "retry") and not by.approver:
        raise Unfit("approver_required", "Letting a step go takes the role approver or admin.")


def _may_go_back(run: Run) -> None:
    if run.state in ("running", "rolled_back"):
        text = {"running": "cancel it first", "rolled_back": "it is rolled back"}[run.state]
        raise Unfit("run_state_unfit", f"This run is {run.state.replace('_', ' ')}: {text}.")


def _reason(text: str) -> str:
    if not text.strip() or len(text) > LONGEST_TEXT or not text.isprintable():
        raise Unfit("reason_invalid", f"Say why, in 1 to {LONGEST_TEXT} printable characters.")
    return text


def entries(api: RunsApi) -> tuple[Entry, ...]:
    """The addresses of runs."""
    return (
        Entry(
            method="GET",
            path="/api/v1/runs/{id}",
            permission="incidents.read",
            summary="Show a run of a playbook.",
            handler=api.show,
            gives=One,
        ),
        Entry(
            method="POST",
            path="/api/v1/runs/{id}",
            permission="playbooks.run",
            summary="Cancel a run.",
            handler=api.order,
            takes=Ordered,
            gives=One,
        ),
        Entry(
            method="POST",
            path="/api/v1/runs/{id}/rollback",
            permission="leases.write",
            summary="Release the leases of a run.",
            handler=api.roll_back,
            takes=Back,
            gives=RolledBack,
            statuses=(200, 207),
        ),
        Entry(
            method="POST",
            path="/api/v1/runs/{id}/steps/{step}",
            permission="playbooks.run",
            summary="Let a step of a run go, or say what came of it.",
            handler=api.answer,
            takes=Answered,
            gives=One,
        ),
    )
