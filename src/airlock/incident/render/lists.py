"""The lists of a document: situation, actions, next steps, containment, decisions, duties to notify."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident import regulation
from airlock.incident.clocks import Clock, clocks
from airlock.incident.regulation import Regulation, Stage
from airlock.incident.render.record import Record
from airlock.incident.render.timeline import ACTIONS, CONTAINMENT, cited, newest, ordered
from airlock.incident.render.words import UNKNOWN, Safe, moment, plain
from airlock.model.incident import RegulatoryClock
from airlock.model.lease import Lease

LATEST = 5
"""Actions that a notice repeats."""

NOTES = 3
"""Notes that a notice repeats."""

_RUNNING = ("running", "warned", "breached")
_DEMANDS: Mapping[str, str] = {
    "response": "Acknowledge the incident",
    "update": "Send an update",
    "evidence": "Collect evidence",
    "review": "Hold the review",
}
"""What each clock asks for."""

STEPS = 8
"""Next steps that a notice names."""


def lists(record: Record, *, status_text: str) -> dict[str, object]:
    """Every list that a template may use."""
    return {
        "situation": situation(record, status_text),
        "actions": [cited(each) for each in newest(record.timeline, ACTIONS, most=LATEST)],
        "next_steps": next_steps(record),
        "containment": containment(record),
        "contained_by": contained_by(record),
        "prevention": prevention(record),
        "decisions": decisions(record),
        "counterfactuals": counterfactuals(record),
        "duties": duties(record),
        "for_customers": [
            Safe(plain(each.event.summary))
            for each in ordered(record.timeline)
            if each.event.visibility == "customer"
        ][-NOTES:],
    }


def situation(record: Record, status_text: str) -> list[Safe]:
    """How things stand: the status in words, the cause as far as it is known, the newest notes."""
    incident = record.incident
    cause = incident.root_cause or incident.hypothesis
    word = "Cause" if incident.root_cause else "Supposed cause"
    notes = [cited(each) for each in newest(record.timeline, ("note",), most=NOTES)]
    state = f"{status_text[0].upper()}{status_text[1:]}."
    return [Safe(state), Safe(f"{word}: {plain(cause) if cause else UNKNOWN}"), *notes]


def next_steps(record: Record) -> list[Safe]:
    """What has to be done, by when: open tasks, then the clocks that run."""
    tasks = [each for each in record.incident.tasks if each.done_at is None]
    steps = [Safe(f"{plain(each.text)}{_by(each.due_at)}") for each in tasks]
    running = [each for each in clocks(record.incident, record.at) if each.state in _RUNNING]
    steps += [Safe(f"{_demand(each)}{_by(each.due_at)}") for each in running]
    return steps[:STEPS]


def containment(record: Record) -> list[Safe]:
    """Every lease with its times, then every event of containment that people decided."""
    leases = [_lease(each) for each in sorted(record.leases, key=lambda each: (each.created_at, each.id))]
    asked = ("containment_proposed", "containment_approved", "containment_failed")
    known = CONTAINMENT.intersection(asked)
    return leases + [cited(each) for each in ordered(record.timeline) if each.event.kind in known]


def contained_by(record: Record) -> list[Safe]:
    """The kinds of leases that were given, without whom they hit: for texts that leave the house."""
    actions = sorted({each.action for each in record.leases})
    return [Safe(plain(each)) for each in actions]


def prevention(record: Record) -> list[Safe]:
    """What keeps it from coming again: as the review says it, else the action items."""
    said = record.incident.review.prevention
    return [
        Safe(plain(each)) for each in ((said,) if said else (item.text for item in record.incident.actions))
    ]


def decisions(record: Record) -> list[Safe]:
    """What waits for somebody who may decide."""
    incident = record.incident
    waiting = [Safe("Name an incident commander")] if not incident.person("incident_commander") else []
    if incident.is_suspected_breach is None:
        waiting.append(Safe("Say whether data may have been breached"))
    decided = {ref for each in record.timeline for ref in each.event.refs if _decides(each.event.kind)}
    proposed = [each for each in ordered(record.timeline) if each.event.kind == "containment_proposed"]
    open_ones = [each for each in proposed if not decided.intersection(each.event.refs)]
    return waiting + [Safe(f"Approve or reject: {cited(each)}") for each in open_ones]


def counterfactuals(record: Record) -> list[Safe]:
    """What would have told or stopped it earlier, as the newest answer says it, with where that stands."""
    asked = [each for each in record.timeline if each.event.details.get("question") == "counterfactuals"]
    if not asked:
        return []
    found = msgspec.convert(asked[-1].event.details.get("answer", {}), _Foretold)
    lines = (*found.lines, *(f"not played: {each}" for each in found.unplayed))
    return [Safe(f"{plain(line)} (event {asked[-1].seq})") for line in lines]


class _Foretold(msgspec.Struct, frozen=True):
    """What a review repeats of such an answer."""

    lines: tuple[str, ...] = ()
    unplayed: tuple[str, ...] = ()


def duties(record: Record) -> list[dict[str, object]]:
    """Every duty of the table with what is known of it: dates, why it does not apply, or that nobody has
    decided. A mark stands before what is done with."""
    chosen = {each.id: each for each in record.incident.regulatory}
    return [line for law in record.law.values() for line in _duty(record, law, chosen.get(law.id))]


def _duty(record: Record, law: Regulation, chosen: RegulatoryClock | None) -> list[dict[str, object]]:
    title = plain(law.title) + ("" if law.reviewed else " (unreviewed)")
    if chosen is not None and chosen.not_applicable:
        return [_checked(done=True, text=f"{title}: does not apply, {plain(chosen.not_applicable)}")]
    if chosen is None:
        limits = "; ".join(f"{plain(stage.name)} {_limits(stage)}" for stage in law.stages)
        state = "undecided" if law.enabled else "not enabled"
        return [_checked(done=False, text=f"{title}: {state}; {limits}")]
    running = regulation.clocks(record.incident, {law.id: law}, record.at)
    return [
        _checked(
            done=each.met_at is not None, text=f"{title}, {plain(each.name.partition(':')[2])}: {_when(each)}"
        )
        for each in running
    ]


def _limits(stage: Stage) -> str:
    after = f" after {plain(stage.after)}" if stage.after else ""
    limits = [
        f"{limit or 'as required'} from {word}" for word, limit in stage.limits.items() if word != "stage"
    ]
    own = stage.limits.get("stage")
    return (f"{own}{after}" if own else "") + " or ".join(limits)


def _when(clock: Clock) -> str:
    if clock.met_at is not None:
        return f"done {moment(clock.met_at)}"
    if clock.due_at is None:
        return "as required"
    late = ", overdue" if clock.state == "breached" else ""
    return f"due {moment(clock.due_at)}{late}"


def _checked(*, done: bool, text: str) -> dict[str, object]:
    return {"done": done, "text": Safe(text)}


def _lease(lease: Lease) -> Safe:
    what = ", ".join(f"{key} {plain(value)}" for key, value in _selected(lease))
    end = f"until {rfc3339(lease.expires_at)}" if lease.expires_at is not None else "for good"
    over = f", {lease.state} at {rfc3339(lease.ended_at)}" if lease.ended_at is not None else ""
    why = f": {plain(lease.reason)}" if lease.reason else ""
    return Safe(
        f"{lease.action} ({what}) from {rfc3339(lease.created_at)} {end}{over}, "
        f"by {plain(lease.actor) or 'the gateway'}, lease {lease.id}{why}"
    )


def _selected(lease: Lease) -> list[tuple[str, str]]:
    return [(name, value) for name in lease.selector.__struct_fields__
            if (value := getattr(lease.selector, name))]  # fmt: skip


def _demand(clock: Clock) -> str:
    if clock.kind == "escalation":
        return f"Resolve it, or it goes to {clock.name}"
    return _DEMANDS.get(clock.kind, plain(clock.name))


def _by(due_at: float | None) -> str:
    return f" (due {moment(due_at)})" if due_at is not None else ""


def _decides(kind: str) -> bool:
    return kind in ("containment_approved", "containment_failed", "containment_started")
