"""What a detection rule would have done: given at once where every guardrail allows it, else proposed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from airlock.core.errors import ConfigError
from airlock.incident import approval, loosening, proposals, rollback
from airlock.incident.detect import answers, footing
from airlock.incident.detect.answers import Footing
from airlock.incident.detect.catalogue import Rule
from airlock.model import guards
from airlock.model.detection import Mode
from airlock.model.incident import Actor, Alert
from airlock.model.lease import LONGEST_TEXT, Lease, Unfit, read_action, read_selector
from airlock.model.proposal import Order, Prediction, Proposal
from airlock.store import leases
from airlock.store import proposals as kept
from airlock.store.database import Store

MOST_WAITING = 100
"""Proposals of detection that wait for people: more, nobody could read."""

_WAITS = ("PROPOSED", "DRY_RUN", "APPROVED")


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules do not know."""

    approved: bool
    """Whether containment by this rule was approved in advance."""
    keyless: bool
    active: int
    """Principals who called within a day."""
    proxies: tuple[str, ...]


class Acting:
    """Gives leases and proposals for alerts. Its methods block: they run in a thread."""

    def __init__(self, *, store: Store, log: Path) -> None:
        """`log`: the file of the audit log."""
        self._store = store
        self._log = log

    def act(self, alert: Alert, rule: Rule, mode: Mode, world: World, now: float) -> list[Lease]:
        """Do or propose what the rule answers to this alert, each once. The leases that were given.

        Raises `Fault`, and `Unfit` where a lease cannot be given.
        """
        given: list[Lease] = []
        for wanted, automatic in answers.orders(rule, alert.finding):
            order = _fit(msgspec.structs.replace(wanted, incident=alert.incident))
            if order is None or self._held(order, now):
                continue
            standing = self._footing(order, mode, world, now)
            doubts = answers.doubts(order, alert.finding, automatic=automatic, footing=standing)
            doubts += _locked_out(order, world.proxies)
            if doubts and not self._asked_for(order, now):
                self._propose(order, rule, doubts, now)
            elif not doubts:
                given.append(self._give(order, rule, now))
        if rule.id == loosening.RULE:
            self._go_back(alert, rule, now)
        return given

    def _go_back(self, alert: Alert, rule: Rule, now: float) -> None:
        """Where policy answers nothing, propose the one that decided before, if there is one."""
        wanted = Order(
            action=rollback.ACTION,
            selector={"to": rollback.PREVIOUS},
            reason=f"{rule.id}: {rule.title}",
            incident=alert.incident,
        )
        try:
            order = proposals.completed(self._store, self._log.parent, wanted)
        except Unfit:
            return
        if not self._asked_for(order, now):
            self._propose(order, rule, ["it takes people"], now, self._predicted(order, now))

    def _predicted(self, order: Order, now: float) -> Prediction | None:
        try:
            return proposals.predict(self._store, self._log, order, now=now)
        except (sqlite3.Error, ConfigError):
            return None

    def _held(self, order: Order, now: float) -> bool:
        """Whether a lease in force has exactly this already."""
        selector = read_selector(read_action(order.action), order.selector)
        held = leases.listing(self._store, now=now, action=read_action(order.action))
        return any(lease.selector == selector for lease in held)

    def _asked_for(self, order: Order, now: float) -> bool:
        """Whether a proposal that waits has it. Of another rule it keeps nobody from acting at once."""
        asked = (each.order for each in self._waiting(now))
        return any((each.action, each.selector) == (order.action, order.selector) for each in asked)

    def _waiting(self, now: float) -> list[Proposal]:
        found = kept.listing(self._store)
        return [each for each in found if approval.standing(each, now).state in _WAITS]

    def _footing(self, order: Order, mode: Mode, world: World, now: float) -> Footing:
        held = [each for each in leases.listing(self._store, now=now) if each.origin == "detector"]
        known, people, verified = self._asked(order, now)
        return Footing(
            mode=mode,
            approved=world.approved,
            known=known,
            keyless=world.keyless,
            people=people,
            verified=verified,
            active=world.active,
            contained=sum(answers.of_principal(lease.action) for lease in held),
        )

    def _asked(self, order: Order, now: float) -> tuple[bool, int, bool]:
        """Whether the log could be asked, who is behind the address, and whether the subject is known."""
        address, subject = order.selector.get("cidr", "").partition("/")[0], order.selector.get("subject", "")
        try:
            people = footing.people(self._log, address, now) if address else 0
            return True, people, footing.verified(self._log, subject) if subject else True
        except sqlite3.Error:
            return False, 0, False

    def _give(self, order: Order, rule: Rule, now: float) -> Lease:
        action = read_action(order.action)
        given = leases.activate(
            self._store,
            action=action,
            selector=read_selector(action, order.selector),
            ttl=order.ttl,
            reason=order.reason,
            actor=rule.id,
            origin="detector",
            now=now,
            incident=order.incident,
        )
        return given.lease

    def _propose(
        self, order: Order, rule: Rule, doubts: list[str], now: float, seen: Prediction | None = None
    ) -> None:
        by = Actor(type="detector", id=rule.id)
        if sum(each.by.type == "detector" for each in self._waiting(now)) >= MOST_WAITING:
            return
        reason = f"{order.reason}. By itself it does not happen: {'; '.join(doubts)}"[:LONGEST_TEXT]
        worded = msgspec.structs.replace(order, reason=reason)
        proposals.propose(self._store, worded, by=by, now=now, prediction=seen)


def _fit(order: Order) -> Order | None:
    """The order with its selector normalised; None where it can be no lease, such as for a name that no
    selector takes."""
    try:
        return approval.checked(order)
    except Unfit:
        return None


def _locked_out(order: Order, proxies: tuple[str, ...]) -> list[str]:
    """Why it would hit the machine itself or a proxy before it."""
    try:
        guards.lock_out(read_selector(read_action(order.action), order.selector), "", proxies)
    except Unfit as unfit:
        return [unfit.text.rstrip(".")]
    return []
