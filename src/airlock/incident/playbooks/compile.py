"""A playbook's text to its plan, and back.

1 the front matter, and every fence, each for itself
2 the calls: actions that exist, with what they take, and variables that exist
3 the conditions
4 the way through the steps
What is wrong is found as a whole and told with its line; nothing of a text that is wrong is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from airlock.core import units
from airlock.incident import actions
from airlock.incident.playbooks import flow
from airlock.incident.playbooks.calls import variables
from airlock.incident.playbooks.conditions import ConditionError, compile_condition
from airlock.incident.playbooks.fences import MANUAL_TIMEOUT, Fence, read_fences
from airlock.incident.playbooks.front import Front, read_front
from airlock.incident.playbooks.problem import PlaybookError, Problem
from airlock.model.lease import RULES
from airlock.model.playbook import Call, Manual, Plan, PlannedStep

LARGEST = 256 * 1024
"""Characters of a playbook."""

VARIABLES: Mapping[str, str] = {
    "incident": "id of the incident",
    "severity": "of the incident: P0 to P3",
    "type": "of the incident",
    "tenant": "tenant that it is about",
    "subject": "subject, as audit rows have it",
    "issuer": "issuer of its tokens",
    "source_ip": "address that it came from",
    "token_id": "`jti` of a token",
    "session": "digest of a session, as audit rows have it",
    "server_id": "server, by its configured name",
    "tool": "the server's own name of the tool",
    "old_digest": "definition that was approved",
    "new_digest": "definition that was met",
    "component": "part that fails: `policy`, `audit`, `upstream`",
}
"""What a playbook may ask of the alert and the incident that it runs for."""


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, and the line of each step in the text that it came from."""

    plan: Plan
    lines: dict[str, int]


def compile_playbook(source: str) -> Compiled:
    """The plan of a playbook. Raises `PlaybookError` with every problem."""
    if len(source) > LARGEST:
        raise PlaybookError([Problem(1, f"a playbook has {LARGEST} characters at most")])
    source = source.replace("\r\n", "\n")
    front, lines = read_front(source)  # 1
    fences, problems = read_fences(source, lines)
    if not fences and not problems:
        problems = [Problem(lines + 1, "a playbook has at least one step: a fence")]
    ids = {fence.id for fence in fences} if not problems else None
    for fence in fences:
        problems += _wrong(fence)  # 2
        problems += _vague(fence, ids) if ids is not None else []  # 3
    problems += [
        Problem(1, f"pre_approved: there is no step {id} with an action") for id in _loose(front, fences)
    ]
    if not problems:
        problems = flow.problems(fences)  # 4
    if problems:
        raise PlaybookError(problems)
    return Compiled(plan=_plan(front, fences), lines={fence.id: fence.line for fence in fences})


def condition_names(ids: Collection[str]) -> frozenset[str]:
    """What a condition may ask for."""
    return frozenset((*VARIABLES, *(f"steps.{id}" for id in ids)))


def used(plan: Plan) -> frozenset[str]:
    """The variables that the calls of a plan cannot do without."""
    return frozenset(
        name for step in plan.steps if isinstance(step.do, Call) for name in variables(step.do.params)
    )


def _wrong(fence: Fence) -> list[Problem]:
    found: list[str] = []
    if isinstance(fence.do, Call):
        found += actions.check(fence.do)
        found += [
            f"there is no variable {name}: {', '.join(VARIABLES)}"
            for name in variables(fence.do.params)
            if name not in VARIABLES
        ]
        found += _lasting(fence, fence.do)
    return [Problem(fence.line, text) for text in found]


def _vague(fence: Fence, ids: Collection[str]) -> list[Problem]:
    if fence.when is None:
        return []
    try:
        compile_condition(fence.when, condition_names(ids))
    except ConditionError as wrong:
        return [Problem(fence.line, f"when: {wrong}")]
    return []


def _lasting(fence: Fence, call: Call) -> list[str]:
    spec = actions.catalogue().get(call.action)
    if fence.ttl is None or spec is None:
        return []
    longest = RULES[spec.lease].longest if spec.lease is not None else None
    if longest is None:
        return [f"{call.action} takes no ttl"]
    if fence.ttl > longest:
        return [f"ttl: {call.action} lasts {units.show_duration(longest)} at most"]
    return []


def _loose(front: Front, fences: Sequence[Fence]) -> list[str]:
    calls = {fence.id for fence in fences if isinstance(fence.do, Call)}
    return [id for id in front.pre_approved if id not in calls]


def _plan(front: Front, fences: Sequence[Fence]) -> Plan:
    ways = flow.edges(fences)
    steps = tuple(
        PlannedStep(
            id=fence.id,
            title=fence.title,
            do=fence.do,
            when=fence.when or "",
            ttl=fence.ttl,
            approvals=fence.approvals,
            on_success=ways[fence.id][0],
            on_failure=ways[fence.id][1],
            timeout=fence.timeout if fence.timeout is not None else usual_timeout(fence.do),
            delay=fence.delay,
        )
        for fence in fences
    )
    return Plan(**msgspec.structs.asdict(front), start=flow.entry(fences), steps=steps)


def usual_timeout(do: Call | Manual) -> float:
    """Seconds for a step that says nothing of them."""
    spec = actions.catalogue().get(do.action) if isinstance(do, Call) else None
    return spec.timeout if spec is not None else MANUAL_TIMEOUT
