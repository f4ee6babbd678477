"""The ticker: once a second it writes what is due in the open incidents, and extends leases in time.

It decides nothing that a reader would not find out too: when it was dead for hours, what was due meanwhile is
written with the time at which it was due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from airlock.core.clock import Clock, rfc3339
from airlock.core.config import Config
from airlock.core.errors import Fault
from airlock.incident import containment, notice, regulation
from airlock.incident.clocks import Term
from airlock.incident.lifecycle import UNRESOLVED
from airlock.incident.notice import Seen
from airlock.incident.regulation import Law
from airlock.incident.severity import urgent
from airlock.model.incident import SYSTEM_ACTOR, Incident
from airlock.model.lease import Lease, Unfit
from airlock.store import incident_facts, incidents, leases
from airlock.store.changes import INCIDENTS, LEASES
from airlock.store.database import Store

BEAT = 1.0
"""Seconds between two looks."""


class Logger(Protocol):
    def error(self, event: str, **fields: object) -> object: ...


class Ticker:
    """What it has read, so that a look at nothing new costs one small query. Used in one thread at a time."""

    def __init__(
        self, *, config: Config, store: Store, clock: Clock, tell_look: Callable[[], None], log: Logger
    ) -> None:
        """`tell_look`: lets the workers look at leases that were extended."""
        self._store = store
        self._clock = clock
        self._tell_look = tell_look
        self._log = log
        self.trouble = ""
        """What is wrong, while it is tried again; empty: nothing."""
        self._versions: tuple[int, int] = (-1, -1)
        self._open: list[Incident] = []
        self._seen: dict[str, Seen] = {}
        self._law: Law = {}
        self.take_over(config)

    def take_over(self, config: Config) -> None:
        """Take over a configuration: the duties to notify that it names."""
        file = config.incident.regulations_file
        self._law = regulation.known(file)
        try:
            regulation.chosen(file)
        except Unfit as unfit:
            self._log.error("regulations_invalid", detail=unfit.text)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.tick)
                self.trouble = ""
            except Fault as failed:
                if not self.trouble:
                    self.trouble = failed.detail or str(failed)
                    self._log.error("ticker_stalled", detail=self.trouble)
            await asyncio.sleep(BEAT)

    def tick(self) -> None:
        """One look. Raises `Fault` where the store cannot be used: the next look finds the same. What breaks
        at one incident is raised once the others were looked at."""
        now = self._clock.wall()
        self._read(now)
        broken: list[Exception] = []
        for incident in self._open:
            try:
                self._look(incident, now)
            except Fault:
                raise
            except Exception as error:  # noqa: BLE001 - the clocks of the others go on
                broken.append(error)
        if broken:
            raise ExceptionGroup("clocks of incidents", broken)

    def _look(self, incident: Incident, now: float) -> None:
        seen = self._seen.get(incident.id, Seen())
        self._written(incident.id, incident, seen, now)
        if incident.status in UNRESOLVED and urgent(incident.severity):
            self._extend(incident, seen, now)

    def _read(self, now: float) -> None:
        """Take over what changed: the records, and the leases of incidents."""
        versions = self._store.versions()
        newest = versions[INCIDENTS], versions[LEASES]
        if newest == self._versions and all(seen.settled for seen in self._seen.values()):
            return
        self._open = incidents.listing(self._store)
        open_ids = {incident.id for incident in self._open}
        self._seen = {}
        for id in {*open_ids, *incident_facts.with_news(self._store)}:
            seen = notice.look(self._store, id, now)
            if id in open_ids:
                self._seen[id] = seen
            elif seen.untold:
                incidents.append(self._store, id, seen.untold)
        self._versions = newest

    def _written(self, id: str, incident: Incident, seen: Seen, now: float) -> None:
        if not notice.news(incident, seen, self._law, now).events:
            return
        incidents.change(self._store, id, lambda fresh: notice.news(fresh, seen, self._law, now))

    def _extend(self, incident: Incident, seen: Seen, now: float) -> None:
        """Leases of an urgent incident about which nobody decided last one term longer."""
        by_id = {lease.id: lease for lease in seen.leases}
        for term in seen.terms:
            lease = by_id[term.lease]
            seconds = containment.extension(lease, term, now)
            if seconds is not None and not self._decided(incident, term):
                self._extended(incident, lease, seconds, now)

    def _decided(self, incident: Incident, term: Term) -> bool:
        timeline = incidents.timeline(self._store, incident.id)
        decisions = [(each.event.at, each.event.refs) for each in timeline if each.event.kind == "decision"]
        return containment.decided(term, decisions)

    def _extended(self, incident: Incident, lease: Lease, seconds: float, now: float) -> None:
        reason = (
            f"{incident.id} is an open {incident.severity} and nobody decided; until {rfc3339(now + seconds)}"
        )
        try:
            leases.extend(
                self._store, id=lease.id, ttl=seconds, actor=SYSTEM_ACTOR.id, reason=reason, now=now
            )
        except Unfit:
            return  # somebody ended it meanwhile
        self._tell_look()
