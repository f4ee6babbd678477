"""From findings to alerts, incidents and containment: what every detector of the engine reports to.

1 what a rule in mode `inactive` finds is dropped
2 findings fold into alerts, in one transaction with the place of their reader
3 an alert joins its incident, or begins one where it is grave and sure enough
4 what the rule answers is done, or proposed

If we crash behind 2, nothing is forgotten: alerts that nobody answered are answered by the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from airlock.app.acting import Acting, World
from airlock.core import ids
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import Fault
from airlock.incident import alerts as states
from airlock.incident import declaring
from airlock.incident.detect import catalogue, windows
from airlock.incident.guard import GuardFailed
from airlock.model.detection import Mode, Settings
from airlock.model.incident import Actor, Alert, Finding
from airlock.model.lease import Unfit
from airlock.store import alerts, rule_settings
from airlock.store.cursors import Cursor
from airlock.store.database import Store

RECENT = 3600.0
"""Seconds for which an alert that nobody answered is answered late."""

GRAVE = ("P0", "P1")
"""Severities that begin an incident."""


class Logger(Protocol):
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Alerting:
    """Takes findings. Its work blocks, so it runs in a thread, one call after the other."""

    def __init__(
        self, *, config: Config, store: Store, tell_look: Callable[[], None], clock: Clock, log: Logger
    ) -> None:
        """`tell_look` lets every worker look at the leases."""
        self._config = config
        self._store = store
        self._tell_look = tell_look
        self._clock = clock
        self._log = log
        self._acting = Acting(store=store, log=Path(config.data_dir) / "audit.db")
        self._turn = asyncio.Lock()
        self.keyless: Callable[[Collection[str]], bool] = lambda _: False
        """Whether the keys of one of these providers cannot be fetched, as the follower of the log knows."""
        self.active: Callable[[], int] = lambda: 0
        """Principals who called within a day, likewise."""

    def take_over(self, config: Config) -> None:
        """Act by another configuration."""
        self._config = config

    async def found(self, findings: Sequence[Finding], place: tuple[str, Cursor] | None = None) -> None:
        """Take findings, and note how far their reader (its name) came. Raises `Fault`;
        what is stored by then stays."""
        async with self._turn:
            await asyncio.to_thread(self._found, findings, place)

    async def catch_up(self) -> None:
        """Answer alerts that an earlier process did not come to. Raises `Fault`."""
        async with self._turn:
            await asyncio.to_thread(self._catch_up)

    def _found(self, findings: Sequence[Finding], place: tuple[str, Cursor] | None) -> None:
        settings = rule_settings.load(self._store) if findings else {}
        kept = [each for each in findings if mode_of(each, settings) != "inactive"]  # 1
        now = self._clock.wall()
        folded = alerts.fold(  # 2
            self._store,
            kept,
            lambda before, finding: states.folded(before, finding, now, ids.uuid7()),
            states.fingerprint,
            now=now,
            place=place,
        )
        self._answer_each(sorted(folded, key=lambda each: each.finding.severity), settings)

    def _catch_up(self) -> None:
        settings, now = rule_settings.load(self._store), self._clock.wall()
        self._answer_each(alerts.listing(self._store, states=("NEW",), since=now - RECENT), settings)

    def _answer_each(self, found: Sequence[Alert], settings: Settings) -> None:
        """Answer alerts. One that cannot be, for whatever reason, is said, and holds up no other."""
        for alert in found:
            try:
                self._answer(alert, settings)
            except Fault:
                raise
            except Exception as error:  # noqa: BLE001 - see above
                self._log.error("alert_unanswered", alert=alert.id, detail=repr(error))

    def _answer(self, alert: Alert, settings: Settings) -> None:
        finding = alert.finding
        if alert.count == 1:
            self._log.warning(
                "alert_raised",
                alert=alert.id,
                rule=finding.rule,
                severity=finding.severity,
                confidence=finding.confidence,
            )
        if alert.state == "SUPPRESSED":
            return
        mode = mode_of(finding, settings)
        placed = self._placed(alert, mode)  # 3
        rule = catalogue.rules().get(finding.rule)
        if rule is not None and finding.group != alerts.OTHERS:
            self._act(placed, rule, mode)  # 4

    def _placed(self, alert: Alert, mode: Mode) -> Alert:
        finding = alert.finding
        sure = mode == "active" and finding.confidence == "high"
        begin = sure and self._config.incident.auto_open and finding.severity in GRAVE
        actor = Actor(type="detector", id=finding.rule)
        try:
            return declaring.placed(
                self._store, alert, title_of, begin=begin, actor=actor, now=self._clock.wall()
            )
        except (Unfit, GuardFailed) as refused:  # a person was quicker, or ended the incident meanwhile
            self._log.warning("alert_unplaced", alert=alert.id, detail=str(refused))
            return alert

    def _act(self, alert: Alert, rule: catalogue.Rule, mode: Mode) -> None:
        world = World(
            approved=rule.id in self._config.incident.auto_contain,
            keyless=self.keyless([each.issuer for each in self._config.auth.issuers]),
            active=self.active(),
            proxies=self._config.server.trusted_proxies,
        )
        given = False
        try:
            given = bool(self._acting.act(alert, rule, mode, world, self._clock.wall()))
        except Unfit as refused:
            self._log.warning("alert_unanswered", alert=alert.id, detail=refused.text)
        if given:
            self._tell_look()


def mode_of(finding: Finding, settings: Settings) -> Mode:
    """The mode of the rule behind a finding; alerts from outside have none, and count."""
    rule = catalogue.rules().get(finding.rule)
    if rule is None:
        return "active"
    return msgspec.convert(windows.mode(rule, settings, finding.tenant), Mode)


def title_of(rule: str) -> str:
    """What an incident is called that a rule begins."""
    known = catalogue.rules().get(rule)
    return known.title if known is not None else rule
