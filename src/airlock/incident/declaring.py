"""From an alert to its incident: joined, opened again where a label says so, or begun.

Each of these is one transaction: an alert never names an incident that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from airlock.incident import alerts as states
from airlock.incident import correlation, lifecycle, severity, watching
from airlock.incident.detect import answers, catalogue
from airlock.incident.occasion import Occasion
from airlock.incident.opening import open_incident
from airlock.incident.orders import Open, Reopen
from airlock.model.incident import Actor, Alert, Decided, Finding, Incident
from airlock.model.lease import Action, Selector, Unfit, read_action, read_selector
from airlock.store import alerts, incident_facts, incidents
from airlock.store.changes import INCIDENTS, Change
from airlock.store.database import Store

TRIES = 100
"""Incidents that may begin in one second before nobody can name another one."""

LABEL = "incident"
"""Label of an alert that names its incident."""

_AGAIN = ("MONITORING", "RESOLVED", "IN_REVIEW")


def attach(
    store: Store, alert: str, incident: str, actor: Actor, *, now: float, expected: int | None = None
) -> Alert:
    """Attach an alert to an incident, which is opened again where it seemed to be over.

    Raises `Unfit`: `alert_unknown`, `alert_state`, `incident_unknown`, `version_conflict`; and `GuardFailed`
    where the incident has ended.
    """
    when = Occasion(actor=actor, now=now)

    def step(before: Alert) -> Alert:
        return states.attach(before, incident, actor.id, now)

    with store.change(INCIDENTS) as change:
        after = alerts.change(
            change, alert, step, actor=actor.id, word="alert_attached", now=now, expected=expected
        )
        incidents.change(change, incident, lambda record: _taken(record, after, when))
        _adopt(change, after, now)
    return after


def declare(
    store: Store, alert: str, title: str, actor: Actor, *, now: float, expected: int | None = None
) -> Alert:
    """Begin an incident with an alert. Raises `Unfit`: `alert_unknown`, `alert_state`, `version_conflict`."""
    when = Occasion(actor=actor, now=now)
    with store.change(INCIDENTS) as change:

        def step(before: Alert) -> Alert:
            record = begun(change, correlation.order(before, title, now), when)
            return states.declare(before, record.id, actor.id, now)

        after = alerts.change(
            change, alert, step, actor=actor.id, word="alert_declared", now=now, expected=expected
        )
        _adopt(change, after, now)
    return after


def begun(change: Change, order: Open, occasion: Occasion) -> Incident:
    """A new record; of several in one second each has an id of its own. Raises `Unfit`."""
    for nth in range(1, TRIES):
        decided = open_incident(order, occasion, nth=nth)
        try:
            return incidents.create(change, decided.incident, decided.events).incident
        except Unfit as taken:
            if taken.reason != "incident_exists":
                raise
    raise Unfit("incident_exists", "Too many incidents began in this second: ask again.")


def placed(
    store: Store, alert: Alert, title: Callable[[str], str], *, begin: bool, actor: Actor, now: float
) -> Alert:
    """The alert with the incident that it belongs to, where there is one, or where one is to begin.

    A label that names an incident wins. `title` gives that of a rule. Raises `Unfit`, `GuardFailed` where
    somebody was quicker.
    """
    if alert.incident:
        return _graver(store, alert, Occasion(actor=actor, now=now))
    if alert.state not in ("NEW", "ACKNOWLEDGED"):
        return alert
    labelled = _labelled(store, alert)
    belongs = labelled or correlation.choose(alert.finding, _open(store)) or _again(store, alert.finding, now)
    if belongs:
        return attach(store, alert.id, belongs, actor, now=now)
    return declare(store, alert.id, title(alert.finding.rule), actor, now=now) if begin else alert


def _adopt(change: Change, alert: Alert, now: float) -> None:
    """What its rule contained for an alert before it had an incident belongs to that incident."""
    rule = catalogue.rules().get(alert.finding.rule)
    orders = answers.orders(rule, alert.finding) if rule is not None else []
    wanted: list[tuple[Action, Selector]] = []
    for order, _ in orders:
        with suppress(Unfit):  # what can be no lease was given as none
            action = read_action(order.action)
            wanted.append((action, read_selector(action, order.selector)))
    if rule is not None and wanted:
        incident_facts.adopt(change, target=alert.incident, rule=rule.id, wanted=wanted, now=now)


def _graver(store: Store, alert: Alert, when: Occasion) -> Alert:
    """The incident is as grave as the alert, which may have become graver."""
    record = incidents.get(store, alert.incident)
    if record is not None and severity.graver(alert.finding.severity, record.severity):
        incidents.change(store, record.id, lambda before: correlation.joined(before, alert, when))
    return alert


def _labelled(store: Store, alert: Alert) -> str:
    """The incident that a label names, if it has not ended."""
    named = alert.finding.labels.get(LABEL, "")
    record = incidents.get(store, named) if named else None
    return "" if record is None or record.status in lifecycle.ENDED else record.id


def _open(store: Store) -> list[tuple[Incident, list[Alert]]]:
    found = [each for each in incidents.listing(store) if each.status in correlation.UNRESOLVED]
    return _with_alerts(store, found)


def _again(store: Store, finding: Finding, now: float) -> str:
    """The incident that is over, watched, and not over by what this finding says; empty: none."""
    over = watching.goes_on(finding, watching.watched(store, now=now))
    return correlation.again(finding, _with_alerts(store, over))


def _with_alerts(store: Store, found: Sequence[Incident]) -> list[tuple[Incident, list[Alert]]]:
    return [(each, alerts.listing(store, incident=each.id, limit=100)) for each in found]


def _taken(incident: Incident, alert: Alert, when: Occasion) -> Decided:
    """The record with the alert; opened again where it was over. Rows from before the mitigation, which a
    rule may find a while later, say nothing of what goes on."""
    first = Decided(incident=incident)
    found = alert.finding
    before = bool(found.event_ids) and found.until <= (incident.mitigated_at or 0.0)
    if incident.status in _AGAIN and not before:
        reason = Reopen(reason=f"alert {alert.id} of {alert.finding.rule} says that it goes on")
        first = lifecycle.reopen(incident, reason, when)
    then = correlation.joined(first.incident, alert, when)
    return Decided(incident=then.incident, events=(*first.events, *then.events))
