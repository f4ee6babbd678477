"""The way through a playbook: which step follows which, and what is wrong with that.

Steps run in the order of the document. `on_success` and `on_failure` name another one, or `end` or `stop`. A
step that some `on_failure` names is a way out: the order of the document passes it by. There are no loops, so
every run ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from airlock.incident.actions import catalogue
from airlock.incident.playbooks.fences import Fence
from airlock.incident.playbooks.problem import Problem
from airlock.model.playbook import END, STOP, Call, Manual

Edges = Mapping[str, tuple[str, str]]
"""What follows a step when it succeeds, and when it fails."""

ENDS = (END, STOP)

_RESTARTS = re.compile(
    r"\b(?:rollout\s+(?:restart|undo)|delete\s+pods?\b|helm\s+rollback|systemctl\s+(?:re)?start|"
    r"patch\s+deployment|set\s+(?:env|image|resources)|docker\s+restart)"
)
"""Commands after which what was in memory is gone."""


_COLLECTS = re.compile(r"^\s*airlock evidence collect\b", re.MULTILINE)


def entry(fences: Sequence[Fence]) -> str:
    """The step that is first. There is at least one fence."""
    outs = _ways_out(fences)
    return next((fence.id for fence in fences if fence.id not in outs), fences[0].id)


def edges(fences: Sequence[Fence]) -> Edges:
    """What follows each step."""
    outs = _ways_out(fences)
    made: dict[str, tuple[str, str]] = {}
    following = END
    for fence in reversed(fences):
        made[fence.id] = (fence.on_success or following, fence.on_failure or STOP)
        if fence.id not in outs:
            following = fence.id
    return made


def _ways_out(fences: Sequence[Fence]) -> frozenset[str]:
    return frozenset(fence.on_failure for fence in fences if fence.on_failure)


def problems(fences: Sequence[Fence]) -> list[Problem]:
    """What is wrong with the way: steps that are not there, are never reached, or come again."""
    line = {fence.id: fence.line for fence in fences}
    found = _names(fences)
    if found:
        return found
    ways = edges(fences)
    reached = _reached(ways, entry(fences))
    found = [
        Problem(line[id], f"{id} is never reached: no step leads to it") for id in line if id not in reached
    ]
    found += [
        Problem(line[id], f"{id} leads back to {to}: a playbook has no loop")
        for id, to in _back(ways, list(line))
    ]
    return found or _evidence(fences, ways)


def _names(fences: Sequence[Fence]) -> list[Problem]:
    found: list[Problem] = []
    seen: dict[str, int] = {}
    for fence in fences:
        if fence.id in ENDS:
            found.append(Problem(fence.line, f"{fence.id} is no name for a step"))
        if fence.id in seen:
            found.append(Problem(fence.line, f"{fence.id} is a step already, in line {seen[fence.id]}"))
        seen.setdefault(fence.id, fence.line)
    for fence in fences:
        for key, to in (("on_success", fence.on_success), ("on_failure", fence.on_failure)):
            if to is not None and to not in (*seen, *ENDS):
                found.append(Problem(fence.line, f"{key}: there is no step {to}"))
    return found


def _reached(ways: Edges, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        id = waiting.pop()
        if id not in reached and id not in ENDS:
            reached.add(id)
            waiting += ways[id]
    return reached


def _back(ways: Edges, ids: Iterable[str]) -> list[tuple[str, str]]:
    """The edges that close a loop: what is left when those that lead only to an end are taken off."""
    left = set(ids)
    while ending := {id for id in left if not left & set(ways[id])}:
        left -= ending
    order = {id: position for position, id in enumerate(ways)}  # ways has the last step first
    return [(id, to) for id in ways if id in left for to in ways[id] if to in left and order[to] >= order[id]]


def _evidence(fences: Sequence[Fence], ways: Edges) -> list[Problem]:
    """Steps that restart something although evidence may not be safe yet."""
    keeps = {fence.id for fence in fences if _keeps(fence)}
    unsafe: set[str] = set()
    waiting = [entry(fences)]
    while waiting:
        id = waiting.pop()
        if id not in unsafe and id not in ENDS:
            unsafe.add(id)
            waiting += (ways[id][1],) if id in keeps else ways[id]
    text = (
        "this restarts something: evidence.snapshot, or by hand airlock evidence collect, comes first on "
        "every way to it, without a condition"
    )
    return [Problem(fence.line, text) for fence in fences if fence.id in unsafe and restarts(fence.do)]


def _keeps(fence: Fence) -> bool:
    return fence.when is None and keeps(fence.do)


def keeps(do: Call | Manual) -> bool:
    """Whether a step keeps evidence: by itself, or because a person runs the command that does."""
    if isinstance(do, Manual):
        return bool(_COLLECTS.search(do.text))
    return catalogue()[do.action].evidence


def restarts(do: Call | Manual) -> bool:
    """Whether a step is known to restart something."""
    if isinstance(do, Call):
        return False
    return any(_RESTARTS.search(line) for line in do.text.splitlines() if not line.lstrip().startswith("#"))
