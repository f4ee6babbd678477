"""What each step needs, as lists of what is missing. An empty list lets it pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airlock.incident import severity
from airlock.incident.guard import GuardFailed, Missing
from airlock.incident.occasion import Facts
from airlock.incident.orders import Cancel, Merge, Mitigate
from airlock.incident.roles import commands
from airlock.incident.severity import HOUR, REVIEW_FROM, REVIEW_UNTIL
from airlock.model.incident import Actor, Incident, IncidentSeverity

VERDICTS = ("false_positive", "benign", "test", "duplicate", "insufficient_data")
"""Of an incident that was none."""


def refuse(step: str, missing: Iterator[Missing]) -> None:
    """Raises `GuardFailed` where anything is missing."""
    found = tuple(missing)
    if found:
        raise GuardFailed(step, found)


def identify(hypothesis: str, evidence: Sequence[str]) -> Iterator[Missing]:
    if not hypothesis.strip():
        yield Missing("hypothesis", "Say what the cause probably is.")
    if not evidence:
        yield Missing("evidence", "Name one row, bundle or file that shows it.")


def mitigate(order: Mitigate, facts: Facts) -> Iterator[Missing]:
    if not (order.action.strip() or order.self_recovered or facts.containments):
        text = (
            "Name what ended the harm, contain something for this incident, or say that it ended by itself."
        )
        yield Missing("mitigation", text)


def resolve(incident: Incident, facts: Facts) -> Iterator[Missing]:
    """1 it works again, 2 nothing is loosened, 3 somebody answers for what is still contained, 4 it is
    watched, 5 the times make sense."""
    run = facts.verification  # 1
    if run is None:
        text = f"Run all checks after the mitigation: `airlock incident verify {incident.id}`."
        yield Missing("verification", text)
    elif run.red:
        yield Missing("verification", f"The last verification failed: {', '.join(run.red)}.")
    yield from _loosened(facts)  # 2
    for lease in facts.leases:  # 3
        if not (lease.owner and lease.ends):
            text = f"Lease {lease.id} ({lease.action}): release it, or let a person own it, with an end."
            yield Missing("lease", text)
    if facts.monitoring_until is None:  # 4
        text = "Watch it for 24h or more: `--watch 24h` here, or `airlock incident watch`, beforehand."
        yield Missing("monitoring", text)
    start = incident.detected_at if incident.estimated_start is None else incident.estimated_start
    if incident.mitigated_at is None or incident.mitigated_at < start:  # 5
        yield Missing("mitigated_at", "The mitigation lies before the start: correct estimated_start.")


def start_review(incident: Incident, when: float | None) -> Iterator[Missing]:
    if not severity.review_mandatory(incident):
        return
    resolved = incident.resolved_at
    if resolved is None or when is None or not REVIEW_FROM <= when - resolved <= REVIEW_UNTIL:
        hours = f"{REVIEW_FROM / HOUR:g} to {REVIEW_UNTIL / HOUR:g} hours"
        yield Missing("scheduled_for", f"The review takes place {hours} after the resolution: name its time.")


def close(incident: Incident, facts: Facts) -> Iterator[Missing]:
    review = incident.review
    if not facts.events:
        yield Missing("timeline", "The timeline is empty.")
    if not incident.root_cause.strip():
        yield Missing("root_cause", "Say what the root cause was.")
    for field in review.whys.__struct_fields__:
        answer: str = getattr(review.whys, field)
        if not answer.strip():
            yield Missing(f"why_{field}", f"Answer the question of the {field.replace('_', ' ')}.")
    if review.breach_answered is None:
        yield Missing("breach_answered", "Say whether there was a breach.")
    yield from _evidence(incident, facts)
    owned = any(item.owner and item.due for item in incident.actions)
    if severity.urgent(incident.severity) and not owned:
        yield Missing("action_item", "A P0 or P1 needs an action item with an owner and a date.")


def cancel(order: Cancel, facts: Facts) -> Iterator[Missing]:
    if order.verdict not in VERDICTS:
        yield Missing("verdict", f"Say what it was: one of {', '.join(VERDICTS)}.")
    yield from _released(facts)
    yield from _loosened(facts)


def merge(incident: Incident, order: Merge, facts: Facts) -> Iterator[Missing]:
    if not order.into or order.into == incident.id:
        yield Missing("into", "Name the other incident that goes on.")
    yield from _released(facts)
    yield from _loosened(facts)


def set_severity(incident: Incident, new: IncidentSeverity, actor: Actor) -> Iterator[Missing]:
    """A rise needs nothing."""
    if severity.graver(new, incident.severity):
        return
    floor = severity.floor(incident)
    if floor is not None and severity.graver(floor.severity, new):
        yield Missing("floor", f"Not below {floor.severity}: {floor.why}.")
    if not commands(incident, actor):
        yield Missing("commander", "Only the incident commander lowers the severity.")


def _released(facts: Facts) -> Iterator[Missing]:
    for lease in facts.leases:
        if lease.ends:
            yield Missing("lease", f"Lease {lease.id} ({lease.action}) is in force: release or move it.")


def _loosened(facts: Facts) -> Iterator[Missing]:
    if facts.grants:
        yield Missing("grants", f"Still loosened by {', '.join(facts.grants)}.")
    over = [grant for grant in facts.uncounted if grant not in facts.grants]
    if over:
        text = f"The calls that passed by {', '.join(over)} are still being counted: ask again in a moment."
        yield Missing("debt_uncounted", text)
    if facts.debt:
        yield Missing("debt", f"{facts.debt} calls that passed without a decision are not judged yet.")


def _evidence(incident: Incident, facts: Facts) -> Iterator[Missing]:
    if not facts.bundle_sealed:
        text = f"Seal the evidence: `airlock evidence collect --incident {incident.id}`."
        yield Missing("bundle_sealed", text)
    elif not facts.bundle_verified:
        yield Missing("bundle_verified", "Verify the bundle again: `airlock evidence verify`.")
