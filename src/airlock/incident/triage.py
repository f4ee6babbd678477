"""The six questions of the triage: each is answered by a fact of the record, and is a task until then."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from airlock.incident.guard import Missing
from airlock.incident.severity import MINUTE
from airlock.model.incident import Incident, Task

URGENT = 15 * MINUTE
"""How long a question of a declared P0 or P1 may stay open."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and whether a record answers it. `field`: the text that does."""

    text: str
    answer: str
    answered: Callable[[Incident], bool]
    field: str = ""


QUESTIONS: Mapping[str, Question] = {
    "severity": Question(
        text="Determine the severity by the matrix",
        answer="set the severity",
        answered=lambda incident: bool(incident.severity),
    ),
    "affected": Question(
        text="Identify affected users and tenants",
        answer="set affected_users or tenants",
        answered=lambda incident: bool(incident.affected_users or incident.tenants),
        field="affected_users",
    ),
    "security": Question(
        text="Assess security implications",
        answer="set security_implications or is_suspected_breach",
        answered=lambda incident: (
            bool(incident.security_implications) or incident.is_suspected_breach is not None
        ),
        field="security_implications",
    ),
    "impact": Question(
        text="Estimate business impact",
        answer="set business_impact",
        answered=lambda incident: bool(incident.business_impact),
        field="business_impact",
    ),
    "commander": Question(
        text="Assign an incident commander",
        answer="let somebody assume incident_commander",
        answered=lambda incident: bool(incident.person("incident_commander")),
    ),
    "ticket": Question(
        text="Create a tracking ticket",
        answer="set ticket_url",
        answered=lambda incident: bool(incident.ticket_url),
        field="ticket_url",
    ),
}


def tasks() -> tuple[Task, ...]:
    """The questions as tasks of a fresh record, without a due time."""
    return tuple(Task(key=key, text=question.text, due_at=None) for key, question in QUESTIONS.items())


def open_questions(incident: Incident) -> tuple[Missing, ...]:
    """What nobody has answered."""
    return tuple(
        Missing(key, f"{question.text}: {question.answer}.")
        for key, question in QUESTIONS.items()
        if not question.answered(incident)
    )


def ticked(incident: Incident, now: float) -> Incident:
    """The record with its answered questions done, and the others open."""
    done = tuple(_ticked(task, incident, now) for task in incident.tasks)
    return incident if done == incident.tasks else msgspec.structs.replace(incident, tasks=done)


def made_urgent(incident: Incident, now: float) -> Incident:
    """The record whose open questions are due soon, because it was declared without their answers."""
    lacking = {missing.key for missing in open_questions(incident)}
    tasks = tuple(
        msgspec.structs.replace(task, due_at=now + URGENT) if task.key in lacking else task
        for task in incident.tasks
    )
    return msgspec.structs.replace(incident, tasks=tasks)


def _ticked(task: Task, incident: Incident, now: float) -> Task:
    question = QUESTIONS.get(task.key)
    if question is None:
        return task
    answered = question.answered(incident)
    if answered == (task.done_at is not None):
        return task
    return msgspec.structs.replace(task, done_at=now if answered else None)
