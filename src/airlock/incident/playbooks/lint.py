"""What is wrong with a playbook beyond what keeps it from running: unknown commands, and what is old.

`known` says what is wrong with the words of a command of this program; empty: nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import date

from airlock.incident.playbooks.library import Shelved
from airlock.incident.playbooks.problem import Problem
from airlock.model.playbook import Manual, Plan

Known = Callable[[Sequence[str]], str]

REVIEWED = 180
"""Days after which somebody should read a playbook again."""

DRILLED = 90
"""Days after which it should be tried again."""

PROGRAM = "airlock"
LANGUAGES = frozenset(("bash", "sh", "console", "shell"))

_END = re.compile(r"[|;&<>)`\"]")


def wrong(shelved: Shelved, known: Known) -> list[Problem]:
    """Everything that has to be repaired."""
    if shelved.compiled is None:
        return list(shelved.problems)
    found: list[Problem] = []
    lines = shelved.compiled.lines
    for step in shelved.compiled.plan.steps:
        if isinstance(step.do, Manual) and step.do.language in LANGUAGES:
            for offset, words in commands(step.do.text):
                told = known(words)
                if told:
                    found.append(Problem(lines[step.id] + offset, f"airlock {' '.join(words)}: {told}"))
    return found


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """The commands of this program in a manual step: line from 1, and the words behind its name."""
    joined = text.replace("\\\n", "  ")
    for number, line in enumerate(joined.split("\n"), start=1):
        for start in re.finditer(rf"(?:^|[|;&(])\s*(?:\$ )?{PROGRAM} ", line):
            rest = line[start.end() :]
            end = _END.search(rest)
            yield number, _words(rest[: end.start()] if end and end[0] != '"' else rest)


def _words(rest: str) -> list[str]:
    try:
        return shlex.split(rest, comments=True)
    except ValueError:
        return rest.split()


def stale(plan: Plan, today: date) -> list[str]:
    """What somebody should look at some day."""
    found: list[str] = []
    if not plan.reviewed_on:
        found.append("nobody has reviewed it")
    elif (today - date.fromisoformat(plan.reviewed_on)).days > REVIEWED:
        found.append(f"it was reviewed on {plan.reviewed_on}, more than {REVIEWED} days ago")
    if plan.last_drill == "pending":
        found.append("its drill is pending")
    elif (today - date.fromisoformat(plan.last_drill)).days > DRILLED:
        found.append(f"it was drilled on {plan.last_drill}, more than {DRILLED} days ago")
    return found
