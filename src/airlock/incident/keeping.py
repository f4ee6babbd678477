"""What is kept in a record while an incident lasts: facts, people, tasks, words, messages and evidence.

Each function is one order that leaves the status as it is. Facts may still be corrected while the incident is
reviewed, and nothing changes once it has ended.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from airlock.incident import escalation, roles, severity, triage
from airlock.incident.guard import GuardFailed, Missing
from airlock.incident.lifecycle import ENDED
from airlock.incident.occasion import Occasion
from airlock.incident.orders import (
    AddTask,
    Assume,
    Edit,
    Escalate,
    EvidenceSafe,
    FinishTask,
    HandOver,
    RaiseFlags,
    Renounce,
    UpdateSent,
    Write,
)
from airlock.incident.settling import settle
from airlock.incident.texts import check, needed
from airlock.model.incident import Decided, Incident, IncidentEvent, Kind, Task
from airlock.model.lease import Unfit


def edit(incident: Incident, order: Edit, occasion: Occasion) -> Decided:
    """Facts as they are known by now. Raises `GuardFailed`, `Unfit` `text_invalid` or `time_invalid`."""
    check(order)
    alive("edit", incident)
    given = {name: getattr(order, name) for name in order.__struct_fields__}
    changed = {
        name: value
        for name, value in given.items()
        if value is not UNSET and value != getattr(incident, name)
    }
    start = changed.get("estimated_start")
    if start is not None and not 0 <= start <= occasion.now:
        raise Unfit("time_invalid", "estimated_start lies ahead of the present, or is no time.")
    if not changed:
        return Decided(incident=incident)
    after = msgspec.structs.replace(incident, **changed)
    names = ", ".join(name.replace("_", " ") for name in changed)
    event = said("note", occasion, f"Recorded: {names}", changed=changed)
    return settle(incident, after, (event,), occasion.now)


def raise_flags(incident: Incident, order: RaiseFlags, occasion: Occasion) -> Decided:
    """Reasons to escalate. Raises `GuardFailed`, `Unfit` `flag_unknown`."""
    check(order)
    alive("flag", incident)
    flags = [flag for flag in severity.read_flags(order.flags) if flag not in incident.flags]
    if not flags:
        return Decided(incident=incident)
    after = msgspec.structs.replace(incident, flags=(*incident.flags, *flags))
    why = f" ({order.reason})" if order.reason else ""
    texts = "; ".join(severity.FLAGS[flag] for flag in flags)
    return settle(
        incident, after, (said("note", occasion, f"Flagged: {texts}{why}", flags=flags),), occasion.now
    )


def escalate(incident: Incident, order: Escalate, occasion: Occasion) -> Decided:
    """Call a level by hand. Raises `GuardFailed`, `Unfit` `text_invalid`."""
    check(order)
    alive("escalate", incident)
    why = needed("reason", order.reason)
    called = escalation.climbed(incident, order.level, why, occasion.actor, occasion.now)
    return settle(incident, called.incident, called.events, occasion.now)


def assume(incident: Incident, order: Assume, occasion: Occasion) -> Decided:
    """Somebody has a role. Raises `GuardFailed`, `Unfit`: `text_invalid`, `approver_not_human`."""
    check(order)
    alive("assume", incident)
    given = roles.assumed(incident, order.role, order.person, occasion)
    return settle(incident, given.incident, given.events, occasion.now)


def renounce(incident: Incident, order: Renounce, occasion: Occasion) -> Decided:
    """Somebody gives a role back. Raises `GuardFailed`, `Unfit` `role_not_held`."""
    alive("renounce", incident)
    left = roles.renounced(incident, order.role, order.person, occasion)
    return settle(incident, left.incident, left.events, occasion.now)


def add_task(incident: Incident, order: AddTask, occasion: Occasion) -> Decided:
    """Something more to do. Raises `GuardFailed`, `Unfit`: `text_invalid`, `task_exists`."""
    check(order)
    alive("task", incident)
    needed("text", order.text)
    if any(task.key == needed("key", order.key) for task in incident.tasks):
        raise Unfit("task_exists", f"There is a task {order.key[:64]!r} already.")
    task = Task(key=order.key, text=order.text, due_at=order.due_at)
    after = msgspec.structs.replace(incident, tasks=(*incident.tasks, task))
    event = said("note", occasion, f"Task added: {order.text}", task=order.key)
    return settle(incident, after, (event,), occasion.now)


def finish_task(incident: Incident, order: FinishTask, occasion: Occasion) -> Decided:
    """A task is done. A question of the triage is done by its answer, which `note` may give.

    Raises `GuardFailed`, `Unfit`: `task_unknown`, `task_unanswered`.
    """
    check(order)
    alive("task", incident)
    task = next((task for task in incident.tasks if task.key == order.key), None)
    if task is None:
        keys = ", ".join(task.key for task in incident.tasks)
        raise Unfit("task_unknown", f"There is no task {order.key[:64]!r}: one of {keys}.")
    after = _answered(incident, order) if order.key in triage.QUESTIONS else incident
    done = tuple(
        msgspec.structs.replace(each, done_at=occasion.now) if each == task else each for each in after.tasks
    )
    after = msgspec.structs.replace(after, tasks=done)
    note = f": {order.note}" if order.note else ""
    event = said("note", occasion, f"Task done: {task.text}{note}", task=task.key)
    return settle(incident, after, (event,), occasion.now)


def write(incident: Incident, order: Write, occasion: Occasion) -> Decided:
    """Somebody's own words. Raises `GuardFailed`, `Unfit`: `text_invalid`, `time_invalid`."""
    check(order)
    alive("write", incident)
    text = needed("text", order.text)
    at = occasion.now if order.occurred_at is None else order.occurred_at
    if not 0 <= at <= occasion.now:
        raise Unfit("time_invalid", "occurred_at lies ahead of the present, or is no time.")
    event = msgspec.structs.replace(
        said(order.kind, occasion, text),
        occurred_at=at,
        refs=order.refs,
        basis=order.basis,
        visibility=order.visibility,
        supersedes=order.supersedes,
    )
    after = incident
    if order.kind == "hypothesis":
        after = msgspec.structs.replace(incident, hypothesis=text)
    return settle(incident, after, (event,), occasion.now)


def hand_over(incident: Incident, order: HandOver, occasion: Occasion) -> Decided:
    """A person answers for a lease. Raises `GuardFailed`, `Unfit` `text_invalid`."""
    check(order)
    alive("hand_over", incident)
    owners = incident.owners | {needed("lease", order.lease): needed("person", order.person)}
    after = msgspec.structs.replace(incident, owners=owners)
    event = said("decision", occasion, f"{order.person} answers for lease {order.lease}", person=order.person)
    event = msgspec.structs.replace(event, refs=(order.lease,))
    return settle(incident, after, (event,), occasion.now)


def update_sent(incident: Incident, order: UpdateSent, occasion: Occasion) -> Decided:
    """An update reached somebody: the clock of the updates starts again. Raises `GuardFailed`."""
    check(order)
    alive("update", incident)
    deadlines = {name: at for name, at in incident.deadlines.items() if name != "update"}
    after = msgspec.structs.replace(incident, last_update_at=occasion.now, deadlines=deadlines)
    to = f" to {order.audience}" if order.audience else ""
    event = said(
        "comm_sent",
        occasion,
        f"Sent {order.template}{to}",
        template=order.template,
        receipt=order.receipt,
        sha256=order.sha256,
    )
    event = msgspec.structs.replace(event, refs=(order.message,), once=f"comm_sent:{order.message}")
    return settle(incident, after, (event,), occasion.now)


def evidence_safe(incident: Incident, order: EvidenceSafe, occasion: Occasion) -> Decided:
    """Evidence is complete; the first stops its clock. It may still come when the incident is over."""
    check(order)
    first = incident.evidence_at is None and incident.status not in ENDED
    after = msgspec.structs.replace(incident, evidence_at=occasion.now) if first else incident
    summary = order.summary or f"Evidence collected: {order.bundle}"
    event = said("evidence_collected", occasion, summary, digest=order.digest)
    event = msgspec.structs.replace(event, refs=(order.bundle,))
    met = (said("clock_met", occasion, "Clock evidence was met", clock="evidence"),) if first else ()
    return settle(incident, after, (event, *met), occasion.now)


def alive(what: str, incident: Incident) -> None:
    """Raises `GuardFailed` where the incident has ended."""
    if incident.status in ENDED:
        raise GuardFailed(what, (Missing("status", f"The incident is {incident.status}: nothing changes."),))


def said(kind: Kind, occasion: Occasion, summary: str, **details: object) -> IncidentEvent:
    """An event of this moment."""
    kept = {name: value for name, value in details.items() if value not in ("", None)}
    return IncidentEvent(
        kind=kind,
        at=occasion.now,
        occurred_at=occasion.now,
        actor=occasion.actor,
        summary=summary,
        details=kept,
        csf="RS",
    )


def _answered(incident: Incident, order: FinishTask) -> Incident:
    """The record with the note as the answer of a question. Raises `Unfit` `task_unanswered`."""
    question = triage.QUESTIONS[order.key]
    if order.note and question.field:
        incident = msgspec.structs.replace(incident, **{question.field: order.note})
    if not question.answered(incident):
        raise Unfit("task_unanswered", f"This is done by its answer: {question.answer}.")
    return incident
