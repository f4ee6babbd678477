"""Writing down what happens in a run, in one transaction: the journal, its rows for the audit log and, where
the run belongs to an incident, its timeline."""

from __future__ import annotations

from collections.abc import Sequence

from airlock.incident.playbooks import progress
from airlock.model.incident import Actor, IncidentEvent
from airlock.model.playbook import ENDED, Call, Run, StepRun
from airlock.store import incidents, runs
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store
from airlock.store.runs import Decide, Journal, Stored

_SAID = {
    "succeeded": "done",
    "failed": "failed",
    "skipped": "skipped",
    "unknown": "nobody knows what came of it",
}
"""States of a step that a timeline tells, in its words."""


def begin(store: Store, run: Run, by: Actor) -> Stored:
    """Write down a new run, as far as it goes by itself. Raises `Unfit` `incident_unknown`."""
    runs.create(store, run)
    if run.incident:
        incidents.append(store, run.incident, [_begun(run, by)])
    now = run.started_at
    return write(store, run.id, lambda known, steps: progress.onward(known, steps, now), by=by, now=now)


def write(
    store: Store, id: str, decide: Decide, *, by: Actor, now: float, expected: Run | None = None
) -> Stored:
    """Apply a decision to a run, as `airlock.store.runs.change` does, and tell of it.

    Raises `Unfit`: `run_unknown`, `version_conflict`, and what `decide` raises.
    """
    told: list[IncidentEvent] = []

    def decided(run: Run, journal: Journal) -> tuple[Run, Sequence[StepRun]]:
        after, entries = decide(run, journal)
        told.extend(_step(after, entry, by, now) for entry in entries if entry.state in _SAID)
        if after.state != run.state and after.state in ENDED:
            told.append(_over(after, by, now))
        return after, entries

    with store.change(INCIDENTS) as change:
        stored = runs.change(change, id, decided, now=now, expected=expected)
        if stored.run.incident and told:
            incidents.append(change, stored.run.incident, told)
    return stored


def _begun(run: Run, by: Actor) -> IncidentEvent:
    return IncidentEvent(
        kind="playbook_step",
        at=run.started_at,
        occurred_at=run.started_at,
        actor=by,
        summary=f"Playbook {run.plan.id} begins, {run.mode}",
        details={"run": run.id, "playbook": run.plan.id, "plan_digest": run.plan.digest, "mode": run.mode},
        refs=(run.id,),
        csf="RS",
        once=f"run:{run.id}",
    )


def _step(run: Run, entry: StepRun, by: Actor, now: float) -> IncidentEvent:
    step = run.plan.step(entry.step)
    call = step.do.action if isinstance(step.do, Call) else "a manual step"
    why = f": {entry.detail}" if entry.detail and entry.state != "succeeded" else ""
    return IncidentEvent(
        kind="playbook_step",
        at=now,
        occurred_at=entry.ended_at or now,
        actor=by,
        summary=f"Playbook {run.plan.id}, {entry.step} ({call}): {_SAID[entry.state]}{why}",
        details={
            "run": run.id,
            "playbook": run.plan.id,
            "step": entry.step,
            "state": entry.state,
            "key": entry.key,
            "params": entry.params,
            "needs": entry.needs,
            "approvals": [given.by for given in entry.approvals],
            "dry_run_digest": entry.dry_run,
            "before": entry.before,
            "after": entry.after,
            "output_digest": entry.output_digest,
            "seconds": _seconds(entry),
        },
        refs=tuple(filter(None, (run.id, entry.lease))),
        basis="observed" if isinstance(step.do, Call) else "reported",
        csf="RS",
        once=f"step:{run.id}:{entry.step}:{entry.state}:{entry.started_at or entry.asked_at or 0:.6f}",
    )


def _over(run: Run, by: Actor, now: float) -> IncidentEvent:
    return IncidentEvent(
        kind="playbook_step",
        at=now,
        occurred_at=now,
        actor=by,
        summary=f"Playbook {run.plan.id} is over: {run.state.replace('_', ' ')}",
        details={"run": run.id, "playbook": run.plan.id, "state": run.state, "detail": run.detail},
        refs=(run.id,),
        csf="RS",
        once=f"run:{run.id}:{run.state}",
    )


def _seconds(entry: StepRun) -> float | None:
    if entry.started_at is None or entry.ended_at is None:
        return None
    return max(0.0, round(entry.ended_at - entry.started_at, 3))
