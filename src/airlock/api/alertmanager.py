"""`/api/v1/alerts/alertmanager`: alerts of a Prometheus Alertmanager."""

from __future__ import annotations

import asyncio

import msgspec

from airlock.api.alerts import title
from airlock.api.deciding import Deciding, human
from airlock.api.entries import Entry, document
from airlock.core import ids
from airlock.incident import alertmanager as outside
from airlock.incident import alerts as states
from airlock.incident import declaring
from airlock.incident.alertmanager import Webhook
from airlock.incident.guard import GuardFailed
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import Alert, Finding
from airlock.model.lease import Unfit
from airlock.model.principal import Principal
from airlock.store import alerts

WEBHOOK = 1024 * 1024
"""Bytes of a webhook: some thousand alerts."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a webhook."""

    folded: int
    resolved: int
    attached: int


class AlertmanagerApi:
    """Takes webhooks."""

    def __init__(self, deciding: Deciding) -> None:
        self._store = deciding.store
        self._clock = deciding.clock

    async def take(self, request: HttpRequest, who: Principal) -> HttpResponse:
        """Take a webhook of an Alertmanager. What is firing folds; what names an incident joins it; what is
        resolved closes its alert, and never an incident."""
        webhook = document(request, Webhook)
        return json_response(200, await asyncio.to_thread(lambda: self._taken(webhook, who)))

    def _taken(self, webhook: Webhook, who: Principal) -> Taken:
        now = self._clock.wall()
        told = [(each.status, outside.finding(each, now)) for each in webhook.alerts]
        folded = alerts.fold(
            self._store,
            [finding for status, finding in told if status == "firing"],
            lambda before, finding: states.folded(before, finding, now, ids.uuid7()),
            states.fingerprint,
            now=now,
        )
        attached = sum(self._attached(alert, who, now) for alert in folded)
        over = {states.fingerprint(finding): finding for status, finding in told if status == "resolved"}
        resolved = sum(self._resolved(finding, who, now) for finding in over.values())
        return Taken(folded=len(folded), resolved=resolved, attached=attached)

    def _attached(self, alert: Alert, who: Principal, now: float) -> bool:
        """Whether a label gave the alert its incident now. One that names none that is there says nothing."""
        if declaring.LABEL not in alert.finding.labels or alert.incident:
            return False
        try:
            placed = declaring.placed(self._store, alert, title, begin=False, actor=human(who), now=now)
        except (Unfit, GuardFailed):  # somebody was quicker
            return False
        return bool(placed.incident)

    def _resolved(self, finding: Finding, who: Principal, now: float) -> bool:
        found = alerts.newest(self._store, states.fingerprint(finding))
        if found is None or found.state in states.OVER:
            return False
        actor = human(who).id
        alerts.change(
            self._store,
            found.id,
            lambda alert: states.resolve(alert, now),
            actor=actor,
            word="alert_resolved",
            now=now,
        )
        return True


def entries(api: AlertmanagerApi) -> tuple[Entry, ...]:
    """The address of this part."""
    return (
        Entry(
            method="POST",
            path="/api/v1/alerts/alertmanager",
            permission="alerts.write",
            summary="Take a webhook of an Alertmanager.",
            handler=api.take,
            takes=Webhook,
            max_body=WEBHOOK,
            gives=Taken,
        ),
    )
