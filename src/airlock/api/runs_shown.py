"""Runs as answers have them: times in RFC 3339, each step with what is known of it."""

from __future__ import annotations

from typing import Any

import msgspec

from airlock.api.deciding import dated
from airlock.incident.playbooks import calls
from airlock.incident.playbooks.rehearse import missing
from airlock.model.playbook import Call, PlannedStep, Run, StepRun
from airlock.store.runs import Stored


def line(run: Run) -> dict[str, Any]:
    """A run without its steps."""
    return dated({
        "id": run.id,
        "playbook": run.plan.id,
        "title": run.plan.title,
        "plan_digest": run.plan.digest,
        "incident": run.incident,
        "mode": run.mode,
        "state": run.state,
        "current": run.current,
        "started_by": run.started_by,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "detail": run.detail,
    })  # fmt: skip


def shown(stored: Stored) -> dict[str, Any]:
    """A run with its steps in the order of the document."""
    run = stored.run
    steps = [_step(run, step, stored.journal.get(step.id)) for step in run.plan.steps]
    return {**line(run), "variables": run.variables, "steps": steps}


def _step(run: Run, step: PlannedStep, entry: StepRun | None) -> dict[str, Any]:
    known = entry or StepRun(step=step.id, state="waiting")
    return {
        **dated(msgspec.to_builtins(known)),
        "state": entry.state if entry is not None else "pending",
        "title": step.title,
        "manual": not isinstance(step.do, Call),
        "language": "" if isinstance(step.do, Call) else step.do.language,
        "what": _what(run, step),
        "on_success": step.on_success,
        "on_failure": step.on_failure,
    }


def _what(run: Run, step: PlannedStep) -> str:
    """The call with its variables replaced; a manual step as it stands: whoever copies a command from it must
    not copy what a stranger is called."""
    if not isinstance(step.do, Call):
        return step.do.text
    params = step.do.params if missing(run) else calls.resolve(step.do.params, run.variables)
    return calls.show(Call(action=step.do.action, params=params))
