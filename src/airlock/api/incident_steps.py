"""`/api/v1/incidents/{id}/...`: the steps of an incident, from its declaration to its end.

A step that the record does not allow yet is answered with 409 and the list of what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from airlock.api import incident_watching
from airlock.api.deciding import Deciding, One, order
from airlock.api.entries import Entry, Guarded
from airlock.incident import keeping, lifecycle, orders, verification
from airlock.incident.occasion import Occasion
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.incident import Decided, Incident
from airlock.model.lease import Unfit
from airlock.model.principal import Principal
from airlock.store import incident_facts, incidents
from airlock.store.changes import Change


class Step(NamedTuple):
    """The last part of the path, the order that it takes, what decides it, and what it does."""

    path: str
    takes: type[orders.Order]
    decide: Callable[[Incident, Any, Occasion], Decided]
    summary: str


STEPS = (
    Step("acknowledge", orders.Acknowledge, lifecycle.acknowledge, "Say that somebody has seen it."),
    Step("declare", orders.Declare, lifecycle.declare, "Declare it: people work on it from here on."),
    Step("identify", orders.Identify, lifecycle.identify, "Say what causes it."),
    Step("mitigate", orders.Mitigate, lifecycle.mitigate, "Say what ended the harm."),
    Step("verify", verification.Verify, verification.verified, "Write down what a verification found."),
    Step("reopen", orders.Reopen, lifecycle.reopen, "Work on it again."),
    Step("review", orders.StartReview, lifecycle.start_review, "Begin the review."),
    Step("close", orders.Close, lifecycle.close, "Close it, once the review is complete."),
    Step("cancel", orders.Cancel, lifecycle.cancel, "End it with a verdict: it was none."),
    Step("severity", orders.SetSeverity, lifecycle.set_severity, "Set its severity."),
    Step("escalate", orders.Escalate, keeping.escalate, "Call the next level."),
    Step("flags", orders.RaiseFlags, keeping.raise_flags, "Raise a flag, such as a confirmed breach."),
)
"""Every step whose decision needs nothing but the record and the facts."""

RESOLVE = Step("resolve", orders.Resolve, lifecycle.resolve, "Resolve it, once everything is verified.")

MERGE = Step("merge", orders.Merge, lifecycle.merge, "Go on in another incident, with every lease.")


def entries(deciding: Deciding) -> tuple[Entry, ...]:
    """The addresses of the steps."""
    merging = _entry(deciding, MERGE)
    return (
        *(_entry(deciding, step) for step in STEPS),
        msgspec.structs.replace(merging, handler=merge(deciding), optional=False),
        msgspec.structs.replace(_entry(deciding, RESOLVE), handler=incident_watching.resolve(deciding)),
        incident_watching.entry(deciding),
    )


def merge(deciding: Deciding) -> Guarded:
    """A handler that merges an incident into another one, with its leases, in one transaction."""

    async def handle(request: HttpRequest, who: Principal) -> HttpResponse:
        asked, id = order(request, orders.Merge), request.params["id"]

        def first(change: Change, when: Occasion) -> None:
            told = orders.Write(text=f"{id} was merged into this one", refs=(id,), basis="observed")
            incidents.change(change, asked.into, lambda target: _goes_on(target, told, when))
            incident_facts.move(change, source=id, target=asked.into)

        def decide(incident: Incident, when: Occasion) -> Decided:
            moved = msgspec.structs.replace(when.facts, leases=())
            return lifecycle.merge(incident, asked, msgspec.structs.replace(when, facts=moved))

        changed = await deciding.apply(request, who, decide, first=first)
        return deciding.answer(200, changed.incident)

    return handle


def _goes_on(target: Incident, told: orders.Write, when: Occasion) -> Decided:
    if target.status not in lifecycle.UNRESOLVED:
        raise Unfit("incident_ended", f"{target.id} is {target.status}: merge into one that goes on.")
    return keeping.write(target, told, when)


def _entry(deciding: Deciding, step: Step) -> Entry:
    return Entry(
        method="POST",
        path=f"/api/v1/incidents/{{id}}/{step.path}",
        permission="incidents.write",
        summary=step.summary,
        handler=deciding.handler(step.takes, step.decide),
        takes=step.takes,
        optional=True,
        gives=One,
        versioned=True,
    )
