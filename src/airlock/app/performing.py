"""What the actions of playbooks do. Each finds out first whether it was done before, as far as one can know.

Nothing here is given up half-way in silence: what cannot be known is `Unfinished`, and a person decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from airlock.app.performed import Order, Outcome, Unfinished
from airlock.app.performing_outside import Outside
from airlock.app.performing_proposals import Proposing
from airlock.app.posting import Posting
from airlock.core.clock import Clock, rfc3339
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.incident import actions, keeping, orders
from airlock.incident.comms import outgoing
from airlock.incident.comms.outgoing import Text
from airlock.incident.guard import GuardFailed
from airlock.incident.occasion import Facts, Occasion
from airlock.incident.playbooks.weighing import lease_order
from airlock.model import guards
from airlock.model.incident import Decided, Incident, Kind
from airlock.model.lease import Unfit, read_action, read_selector
from airlock.model.message import Audience, Template
from airlock.model.playbook import Call
from airlock.store import incidents, leases, messages, runs
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store

Write = Callable[[str, Template], Text]
"""Renders a notice of an incident. Raises `Unfit`. Blocks."""


class Performer:
    """Carries out steps. `look` tells every worker to look at the leases."""

    def __init__(
        self,
        *,
        store: Store,
        config: Config,
        write: Write,
        posting: Posting,
        look: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._config = config
        self._write = write
        self._look = look
        self._clock = clock
        outside = Outside(store=store, config=lambda: self._config, posting=posting, clock=clock)
        proposing = Proposing(store=store, config=lambda: self._config, clock=clock)
        self._own: dict[str, Callable[[Order], Awaitable[Outcome | Unfinished]]] = {
            "evidence.snapshot": outside.evidence,
            "evidence.bundle": outside.evidence,
            "verify.run": outside.verify,
            "escalate": self._escalate,
            "notify.send": self._notify,
            "webhook.call": outside.webhook,
            "policy.rollback": proposing,
            "failmode.set": proposing,
        }

    def configure(self, config: Config) -> None:
        """Take over a reloaded configuration."""
        self._config = config

    async def perform(self, order: Order) -> Outcome | Unfinished:
        """Carry a step out, or say why not. Raises what nobody foresaw."""
        perform = self._own.get(order.action, self._lease)
        try:
            return await perform(order)
        except Unfit as unfit:
            return Outcome(ok=False, detail=unfit.text)
        except GuardFailed as failed:
            return Outcome(ok=False, detail="; ".join(each.text for each in failed.missing))
        except ConfigError as wrong:
            return Outcome(ok=False, detail=str(wrong))

    async def _lease(self, order: Order) -> Outcome:
        outcome = await asyncio.to_thread(self._leased, order)
        self._look()
        return outcome

    def _leased(self, order: Order) -> Outcome:
        """A lease of this key that holds is this one: given before a crash, or by another run."""
        entry, now = order.entry, self._clock.wall()
        known = runs.lease_of(self._store, entry.key, now=now)
        if known is not None:
            return Outcome(ok=True, lease=known.id, output=f"lease {known.id} holds already")
        wanted = lease_order(order.run, order.step, Call(action=order.action, params=entry.params))
        action = read_action(wanted.action)
        selector = read_selector(action, wanted.selector)
        guards.lock_out(selector, "", self._config.server.trusted_proxies)
        given = leases.activate(
            self._store,
            action=action,
            selector=selector,
            ttl=wanted.ttl,
            reason=wanted.reason,
            actor=order.actor,
            origin="playbook",
            now=now,
            idempotency_key=f"{entry.key}:{order.run.id}",
            incident=order.run.incident,
        )
        end = given.lease.expires_at
        lasts = "for good" if end is None else f"until {rfc3339(end)}"
        return Outcome(ok=True, lease=given.lease.id, output=f"lease {given.lease.id} holds {lasts}")

    async def _escalate(self, order: Order) -> Outcome:
        level = actions.text(order.entry.params["level"])
        given = {"level": level, "reason": actions.text(order.entry.params["reason"])}
        asked = msgspec.convert(given, orders.Escalate)

        def decide(incident: Incident) -> Decided:
            when = Occasion(actor=order.by, now=self._clock.wall(), facts=Facts())
            return keeping.escalate(incident, asked, when)

        if not order.fresh and await asyncio.to_thread(self._told, order, "escalated"):
            return Outcome(ok=True, output=f"{level} was called")
        await asyncio.to_thread(incidents.change, self._store, order.incident, decide)
        return Outcome(ok=True, output=f"{level} is called")

    async def _notify(self, order: Order) -> Outcome:
        return await asyncio.to_thread(self._noticed, order)

    def _noticed(self, order: Order) -> Outcome:
        """A notice has an id that its step gives it: it is left once."""
        incident = incidents.get(self._store, order.incident)
        if incident is None:
            raise incidents.unknown(order.run.incident)
        given = order.entry.params
        template = msgspec.convert(given["template"], Template)
        audience = msgspec.convert(given["audience"], Audience) if "audience" in given else None
        now = self._clock.wall()
        made = outgoing.notices(
            incident,
            template,
            self._write(incident.id, template),
            occasion=order.entry.key,
            targets=self._config.incident.targets,
            by=order.actor,
            now=now,
            audience=audience,
        )
        with self._store.change(INCIDENTS) as change:
            fresh = [each for each in made if messages.get(change.connection, each.id) is None]
            messages.leave(change.connection, fresh)
            incidents.append(change, incident.id, outgoing.drafted(fresh, by=order.by, now=now))
        waits = sorted({role for each in made for role in each.needs})
        told = ", ".join(each.id for each in made)
        return Outcome(ok=True, output=told + (f"; waits for {' and '.join(waits)}" if waits else ""))

    def _told(self, order: Order, kind: Kind) -> bool:
        """Whether the timeline has what this step does, since it began."""
        since = order.entry.started_at or 0.0
        by = order.by
        return any(
            each.event.kind == kind and each.event.actor == by and each.event.at >= since
            for each in incidents.timeline(self._store, order.run.incident)
        )
