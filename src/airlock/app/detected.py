"""What a worker says of alerts and incidents in its metrics: read every few seconds, beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import Fault
from airlock.core.standing import Detected
from airlock.incident.detect import catalogue
from airlock.model.incident import SEVERITIES
from airlock.store import alerts, cursors, incidents, tidying
from airlock.store.database import Store

EVERY = 5.0
"""Seconds between two readings."""

OUTSIDE = "outside"
"""Label of alerts that no rule of ours raised."""

STATES = ("NEW", "ACKNOWLEDGED", "SUPPRESSED")


class Reading:
    """The newest reading. `now` is what metrics show."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._newest = Detected(
            incidents=dict.fromkeys(SEVERITIES, 0),
            waiting=dict.fromkeys(STATES, 0),
            alerts=dict.fromkeys((*catalogue.rules(), OUTSIDE), 0),
        )

    def now(self) -> Detected:
        """What was read last; everything is 0 before the first time."""
        return self._newest

    async def run(self) -> None:
        """Read until cancelled. A store that cannot be read, or a record in it, leaves what was known."""
        while True:
            with contextlib.suppress(Fault, msgspec.MsgspecError):
                self._newest = await asyncio.to_thread(self.read)
            await asyncio.sleep(EVERY)

    def read(self) -> Detected:
        """One reading. Raises `Fault`."""
        open = Counter(incident.severity for incident in incidents.listing(self._store))
        waiting = alerts.waiting(self._store)
        raised: Counter[str] = Counter()
        for counts in (alerts.raised(self._store), tidying.removed(self._store)):
            for rule, count in counts.items():
                raised[rule if rule in catalogue.rules() else OUTSIDE] += count
        place = cursors.cursor(self._store, cursors.DETECT)
        return Detected(
            incidents={severity: open[severity] for severity in SEVERITIES},
            waiting={state: waiting.get(state, 0) for state in STATES},
            alerts={rule: raised[rule] for rule in (*catalogue.rules(), OUTSIDE)},
            looked_at=None if place is None else max(0.0, self._clock.wall() - place.at),
        )
