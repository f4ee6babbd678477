"""A dry run of a playbook: every step as it would be carried out, who would have to agree, what is missing.

Nothing happens. A call whose variables are known is weighed by `weigh`, which replays recent calls where it
is about a lease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from airlock.incident.actions import catalogue
from airlock.incident.playbooks import calls, progress
from airlock.incident.playbooks.compile import used
from airlock.incident.playbooks.progress import Weighed
from airlock.model.playbook import Call, PlannedStep, Run

Weigh = Callable[[PlannedStep, Call], Weighed]


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a dry run."""

    step: str
    title: str
    what: str
    """The call with its variables replaced, or the text of the manual step."""
    manual: bool
    when: str
    people: int
    """Who have to agree; a manual step needs somebody in any case."""
    needs: str = ""
    effect: str = ""
    why: tuple[str, ...] = ()
    unfit: str = ""
    dry_run: str = ""
    on_success: str
    on_failure: str


def missing(run: Run) -> list[str]:
    """The variables that the calls of the plan need and the run does not have."""
    return sorted(name for name in used(run.plan) if not run.variables.get(name))


def rehearse(run: Run, weigh: Weigh) -> list[Rehearsed]:
    """The steps in the order of the document."""
    return [_step(run, step, weigh) for step in run.plan.steps]


def _step(run: Run, step: PlannedStep, weigh: Weigh) -> Rehearsed:
    if not isinstance(step.do, Call):
        return _shown(step, what=step.do.text, manual=True, people=0)
    given: Mapping[str, str] = {name: f"${{{name}}}" for name in calls.variables(step.do.params)}
    known = {name: value for name, value in run.variables.items() if value}
    call = Call(action=step.do.action, params=calls.resolve(step.do.params, {**given, **known}))
    spec = catalogue()[call.action]
    unknown = [name for name in given if name not in known]
    weighed = Weighed(needs=spec.needs) if unknown else weigh(step, call)
    rehearsed = _shown(
        step, what=calls.show(call), manual=False, people=progress.people(run, step, weighed.needs)
    )
    return msgspec.structs.replace(
        rehearsed,
        needs=weighed.needs,
        effect=spec.effect,
        why=weighed.why,
        unfit=weighed.unfit,
        dry_run=weighed.dry_run,
    )


def _shown(step: PlannedStep, *, what: str, manual: bool, people: int) -> Rehearsed:
    return Rehearsed(
        step=step.id,
        title=step.title,
        what=what,
        manual=manual,
        when=step.when,
        people=people,
        on_success=step.on_success,
        on_failure=step.on_failure,
    )
