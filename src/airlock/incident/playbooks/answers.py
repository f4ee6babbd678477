"""What a person's answer does to a run. Takes values, returns values."""

from __future__ import annotations

from typing import Literal

import msgspec

from airlock.incident import approval
from airlock.incident.playbooks.progress import Journal, ended, noted
from airlock.model.lease import Unfit
from airlock.model.playbook import ENDED, Manual, PlannedStep, Run, StepApproval, StepRun

Decision = Literal["go", "done", "failed", "skip", "retry"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says about a step. `by` as `issuer|subject`."""

    decision: Decision
    by: str
    output: str = ""
    reason: str = ""


def answered(run: Run, journal: Journal, step: str, answer: Answer, now: float) -> tuple[Run, StepRun]:
    """The run and the step after a person's answer.

    Raises `Unfit`: `run_ended`, `step_unknown`, `step_not_waiting`, `decision_unfit`, `approved_already`,
    `reason_invalid`.
    """
    entry = _asked(run, journal, step)
    planned = run.plan.step(step)
    if answer.decision == "go":
        after = _agreed(planned, entry, answer, now)
    elif answer.decision == "retry":
        after = _again(planned, entry, answer, now)
    else:
        after = _told(planned, entry, answer, now)
    return noted(run, after), after


def _asked(run: Run, journal: Journal, step: str) -> StepRun:
    if run.state in ENDED:
        raise Unfit("run_ended", f"This run is over: {run.state}.")
    if step not in {each.id for each in run.plan.steps}:
        raise Unfit("step_unknown", f"There is no step {step[:64]!r} in this run.")
    entry = journal.get(step)
    if entry is None or entry.state not in ("waiting", "unknown"):
        state = entry.state if entry is not None else "not reached"
        raise Unfit("step_not_waiting", f"{step} waits for nobody: it is {state}.")
    return entry


def _agreed(step: PlannedStep, entry: StepRun, answer: Answer, now: float) -> StepRun:
    if isinstance(step.do, Manual) or entry.state != "waiting":
        text = f"{step.id} is not carried out by the program: say done, failed or skip."
        raise Unfit("decision_unfit", text)
    if any(given.by == answer.by for given in entry.approvals):
        raise Unfit("approved_already", f"You have let {step.id} go already: it needs somebody else.")
    living = (given for given in entry.approvals if now < given.at + approval.VALID)
    approvals = (*living, StepApproval(by=answer.by, at=now))
    enough = len(approvals) >= entry.people
    return msgspec.structs.replace(entry, approvals=approvals, state="approved" if enough else "waiting")


def _again(step: PlannedStep, entry: StepRun, answer: Answer, now: float) -> StepRun:
    if entry.state != "unknown":
        raise Unfit("decision_unfit", f"retry is for a step whose result nobody knows; {step.id} is waiting.")
    if isinstance(step.do, Manual):
        return msgspec.structs.replace(entry, state="waiting", asked_at=now, detail=_reason(answer))
    agreed = StepApproval(by=answer.by, at=now)
    return msgspec.structs.replace(entry, state="approved", approvals=(agreed,), detail=_reason(answer))


def _told(step: PlannedStep, entry: StepRun, answer: Answer, now: float) -> StepRun:
    if answer.decision == "skip":
        text = f"{_reason(answer)} (skipped by {answer.by})"
        return msgspec.structs.replace(entry, state="skipped", ended_at=now, detail=text)
    if not isinstance(step.do, Manual) and entry.state != "unknown":
        text = f"{step.id} is carried out by the program: say go or skip."
        raise Unfit("decision_unfit", text)
    ok = answer.decision == "done"
    detail = answer.reason if ok else _reason(answer)
    by = StepApproval(by=answer.by, at=now)
    found = ended(entry, ok=ok, output=answer.output, detail=detail, now=now)
    return msgspec.structs.replace(found, approvals=(*entry.approvals, by))


def _reason(answer: Answer) -> str:
    if not answer.reason.strip() or not answer.reason.isprintable():
        raise Unfit("reason_invalid", "Say why, in one line of printable characters.")
    return answer.reason


def cancelled(run: Run, by: str, reason: str, now: float) -> Run:
    """The run after somebody ended it; what its steps did stays. Raises `Unfit` `run_ended`."""
    if run.state in ENDED:
        raise Unfit("run_ended", f"This run is over: {run.state}.")
    text = f"{reason} (cancelled by {by})"
    return msgspec.structs.replace(run, state="cancelled", ended_at=now, detail=text)
