"""What comes next in a run, and what a person's answer does to it. Takes values, returns values.

A run is at one step at a time. Before the step's effect the journal says `started`, after it what came of it;
so whoever finds a started step after a crash knows that its effect may have happened, and nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from airlock.incident import actions, approval
from airlock.incident.playbooks import calls, flow
from airlock.incident.playbooks.compile import condition_names
from airlock.incident.playbooks.conditions import compile_condition
from airlock.mcp import strict
from airlock.model.playbook import (
    DONE,
    END,
    ENDED,
    STOP,
    Call,
    Manual,
    PlannedStep,
    Run,
    RunState,
    StepRun,
)
from airlock.model.proposal import Class

Journal = Mapping[str, StepRun]
"""The steps of a run that have begun, or wait for people."""

LONGEST_OUTPUT = 16 * 1024
"""Characters of an output that are kept; its digest is of all of it."""


class Go(msgspec.Struct, frozen=True):
    """Go on to another step, or to the end."""

    to: str


class Note(msgspec.Struct, frozen=True):
    """Write this into the journal: the step is skipped, fails before it began, is late, or waits."""

    entry: StepRun


class Pause(msgspec.Struct, frozen=True):
    """Nothing until this time."""

    until: float


class Begin(msgspec.Struct, frozen=True):
    """Carry this out. `entry` says `started`."""

    step: PlannedStep
    entry: StepRun


class Resume(msgspec.Struct, frozen=True):
    """This was started: carry it on, or find out what came of it."""

    step: PlannedStep
    entry: StepRun


class Rest(msgspec.Struct, frozen=True):
    """Somebody has to answer, or it is over."""


Move = Go | Note | Pause | Begin | Resume | Rest


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """What a call would do, as a dry run of it says."""

    needs: Class
    dry_run: str = ""
    """Digest of the order and its prediction."""
    why: tuple[str, ...] = ()
    """What made it that class."""
    unfit: str = ""
    """Why it cannot be carried out at all; empty: it can."""


def to_weigh(run: Run, journal: Journal) -> Call | None:
    """The call of the step that the run is at, with its variables replaced, where that decides what comes
    next; else None."""
    if run.state in ENDED or run.current in (END, STOP) or run.current in journal:
        return None
    do = run.plan.step(run.current).do
    if isinstance(do, Manual):
        return None
    return Call(action=do.action, params=calls.resolve(do.params, run.variables))


def next_move(run: Run, journal: Journal, now: float, weighed: Weighed | None = None) -> Move:
    """What the engine does with a run at this time. `weighed`: of the call of `to_weigh`; None: nothing is
    known of it beyond its action."""
    if run.state in ENDED or run.current in (END, STOP):
        return Rest()
    step = run.plan.step(run.current)
    entry = journal.get(step.id)
    if entry is None:
        return _entered(run, step, journal, now, weighed)
    if entry.state in DONE:
        return Go(step.on_failure if entry.state == "failed" else step.on_success)
    if entry.state == "waiting":
        return _late(step, entry, now)
    if entry.state == "approved":
        return Begin(step, _started(run, step, entry, now))
    return Resume(step, entry) if entry.state == "started" else Rest()


def onward(run: Run, journal: Journal, now: float) -> tuple[Run, list[StepRun]]:
    """The run as far as it goes without anything being carried out, and the journal entries of the way: steps
    that are over are left, manual steps wait for their person."""
    known, written = dict(journal), list[StepRun]()
    while True:
        move = next_move(run, known, now)
        if isinstance(move, Go):
            run = gone_to(run, move.to, now)
        elif isinstance(move, Note) and not _weighs(run, move):
            known[move.entry.step] = move.entry
            written.append(move.entry)
            run = noted(run, move.entry)
        else:
            return run, written


def _weighs(run: Run, move: Note) -> bool:
    """Whether a dry run comes before this is written: somebody is to agree to a call."""
    return move.entry.state == "waiting" and isinstance(run.plan.step(move.entry.step).do, Call)


def noted(run: Run, entry: StepRun) -> Run:
    """The run once this stands in its journal."""
    state: RunState = "waiting" if entry.state in ("waiting", "unknown") else "running"
    return msgspec.structs.replace(run, state=state)


def _entered(run: Run, step: PlannedStep, journal: Journal, now: float, weighed: Weighed | None) -> Move:
    """A step that nothing is known of: skipped, put off, refused, waiting for people, or begun."""
    if step.when and not compile_condition(step.when, condition_names(_ids(run)))(_values(run, journal)):
        return Note(
            StepRun(step=step.id, state="skipped", ended_at=now, detail="its condition does not hold")
        )
    if step.delay and (run.due_at is None or now < run.due_at):
        return Pause(now + step.delay if run.due_at is None else run.due_at)
    refused = _refused(run, step, journal, weighed)
    if refused:
        return Note(StepRun(step=step.id, state="failed", ended_at=now, detail=refused))
    if isinstance(step.do, Manual):
        return Note(StepRun(step=step.id, state="waiting", asked_at=now))
    known = weighed or Weighed(needs=actions.catalogue()[step.do.action].needs)
    needs = people(run, step, known.needs)
    entry = StepRun(
        step=step.id, state="waiting", asked_at=now, people=needs, needs=known.needs, dry_run=known.dry_run,
        detail="; ".join(known.why),
    )  # fmt: skip
    return Note(entry) if needs else Begin(step, _started(run, step, entry, now))


def _refused(run: Run, step: PlannedStep, journal: Journal, weighed: Weighed | None) -> str:
    """Why a step may not even be asked for; empty: it may."""
    if flow.restarts(step.do) and not _safe(run, journal):
        return "evidence comes first: no step of this run has kept it"
    return weighed.unfit if weighed is not None else ""


def _ids(run: Run) -> list[str]:
    return [step.id for step in run.plan.steps]


def _values(run: Run, journal: Journal) -> dict[str, str]:
    return run.variables | {f"steps.{id}": entry.state for id, entry in journal.items()}


def _safe(run: Run, journal: Journal) -> bool:
    keeping = [step.id for step in run.plan.steps if flow.keeps(step.do)]
    return any(id in journal and journal[id].state == "succeeded" for id in keeping)


def _late(step: PlannedStep, entry: StepRun, now: float) -> Move:
    """A person who does not answer leaves nobody knowing; who only has to agree may take all the time."""
    since = entry.asked_at
    if isinstance(step.do, Manual) and since is not None and now >= since + step.timeout:
        text = "nobody said what came of it in time"
        return Note(msgspec.structs.replace(entry, state="unknown", detail=text))
    return Rest()


def _started(run: Run, step: PlannedStep, entry: StepRun, now: float) -> StepRun:
    params: dict[str, Any] = {}
    if isinstance(step.do, Call):
        params = calls.resolve(step.do.params, run.variables)
    return msgspec.structs.replace(
        entry,
        state="started",
        key=idempotency_key(run.incident, step.id, params),
        params=params,
        started_at=now,
        ended_at=None,
        detail="",
    )


def idempotency_key(incident: str, step: str, params: Mapping[str, Any]) -> str:
    """SHA-256 of incident, step and canonical parameters, hex."""
    parts = (incident.encode(), step.encode(), strict.canonical(dict(params)))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def people(run: Run, step: PlannedStep, needs: Class) -> int:
    """How many people a call of this class needs before it is carried out."""
    prepared = step.id in run.plan.pre_approved
    free = approval.alone(approval.Judged(needs), confident=run.confident, prepared=prepared)
    least = 0 if free else approval.PEOPLE[needs]
    return max(step.approvals, least, 1 if run.mode == "attended" else 0)


def ended(entry: StepRun, *, ok: bool, output: str, detail: str, now: float) -> StepRun:
    """A step whose result is known."""
    return msgspec.structs.replace(
        entry,
        state="succeeded" if ok else "failed",
        ended_at=now,
        output=output[:LONGEST_OUTPUT],
        output_digest=hashlib.sha256(output.encode()).hexdigest() if output else "",
        detail=detail,
    )


def gone_to(run: Run, to: str, now: float) -> Run:
    """The run at another step, or over."""
    states: dict[str, RunState] = {END: "succeeded", STOP: "failed"}
    over = states.get(to)
    return msgspec.structs.replace(
        run,
        current=to,
        due_at=None,
        state=over or "running",
        ended_at=now if over else None,
    )
