"""The engine's loop of drills: what somebody asked for, and where that is set one rule a day.

A drill runs in a thread with an event loop and a shadow of its own (`airlock.app.shadow`); nothing of the
gateway's store is in its reach. What came of it is written here, and a drill that failed opens an incident.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from airlock.app.shadow import FOLDER
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.incident import correlation, declaring, scorecard
from airlock.incident.detect import catalogue
from airlock.incident.occasion import Occasion
from airlock.incident.orders import Open
from airlock.incident.playbooks import library
from airlock.incident.severity import DAY
from airlock.model.drill import Drill
from airlock.model.incident import SYSTEM_ACTOR, Finding, IncidentType
from airlock.store import drills, incidents
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store

LOOK_EVERY = 1.0
"""Seconds between two looks at what was asked for."""

PAUSE = 0.1
"""Seconds between two drills: other loops of the engine come in between."""

ASK_EVERY = 600.0
"""Seconds between two looks at whether a day is over."""

LONGEST = 500
"""Characters of a problem on an incident."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Drilling:
    """The loop."""

    def __init__(self, *, config: Config, store: Store, clock: Clock, log: Logger) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._log = log
        self._parent = Path(config.data_dir) / FOLDER
        self._version = -1
        """Of the incidents in the store, when nothing waited."""
        self._ask_at = float("-inf")

    def take_over(self, config: Config) -> None:
        """Whether one rule a day is drilled is as this configuration says from here on."""
        self._config = config

    async def run(self) -> None:
        """Drill until cancelled, one after the other. Raises `Fault` where the store fails."""
        await asyncio.to_thread(shutil.rmtree, self._parent, ignore_errors=True)  # of an engine that died
        while True:
            drilled = await asyncio.to_thread(self.look)
            await asyncio.sleep(PAUSE if drilled else LOOK_EVERY)

    def look(self) -> bool:
        """Do the oldest drill that waits, or ask for that of the day; whether there was one to do. Blocks for
        as long as it takes."""
        version = self._store.versions()[INCIDENTS]
        if version != self._version:
            waiting = drills.wanted(self._store)
            if waiting:
                self._drill(waiting[0])
                return True
            self._version = version
        if self._config.incident.drills and self._clock.monotonic() >= self._ask_at:
            self._ask_at = self._clock.monotonic() + ASK_EVERY
            self._ask()
        return False

    def _ask(self) -> None:
        """One rule a day: that whose proof is the oldest."""
        now, results = self._clock.wall(), drills.results(self._store)
        last = max((each[0].ended_at or 0.0 for each in results.values()), default=0.0)
        if now - last >= DAY:
            stale = scorecard.stalest(list(catalogue.rules()), drills.proved(results))
            drills.request(self._store, {stale: "rule"}, by=SYSTEM_ACTOR.id, now=now)

    def _drill(self, asked: Drill) -> None:
        over = asyncio.run(self._carried_out(asked))
        drills.done(self._store, over, now=self._clock.wall())
        if over.state != "failed":
            self._log.info("drill_over", subject=over.subject, state=over.state, problem=over.problem)
            return
        self._log.error("drill_failed", subject=over.subject, problem=over.problem)
        self._declare(over)

    async def _carried_out(self, asked: Drill) -> Drill:
        """The drill with what came of it."""
        from airlock.app.drilling_plays import drill_playbook
        from airlock.app.drilling_rules import drill_rule

        if asked.kind == "rule":
            return await drill_rule(asked, self._parent, clock=self._clock)
        shelved = self._shelves().get(asked.subject)
        if shelved is None or shelved.compiled is None:
            text = "there is no such playbook" if shelved is None else "it cannot be used: see `runbook lint`"
            now = self._clock.wall()
            return msgspec.structs.replace(asked, state="failed", ended_at=now, problem=text)
        return await drill_playbook(asked, shelved.compiled.plan, self._parent, clock=self._clock)

    def _shelves(self) -> dict[str, library.Shelved]:
        return library.shelves(Path(self._config.data_dir) / library.FOLDER)

    def _declare(self, drill: Drill) -> None:
        """A P2 incident, unless one of this drill is open."""
        title = f"The drill of {drill.subject} failed"
        if any(each.title == title for each in incidents.listing(self._store)):
            return
        asked = Open(
            title=title,
            type=self._type(drill),
            severity="P2",
            detection_source="health_check_failure",
            symptoms=(drill.problem[:LONGEST],),
            refs=(drill.id,),
        )
        occasion = Occasion(actor=SYSTEM_ACTOR, now=self._clock.wall())
        with self._store.change(INCIDENTS) as change:
            declaring.begun(change, asked, occasion)

    def _type(self, drill: Drill) -> IncidentType:
        """What an incident would have been that the drill was about."""
        if drill.kind == "rule":
            now = drill.asked_at
            return correlation.type_of(
                Finding(rule=drill.subject, severity="P2", summary="", since=now, until=now)
            )[0]
        shelved = self._shelves().get(drill.subject)
        known: Sequence[IncidentType] = (
            shelved.compiled.plan.types if shelved is not None and shelved.compiled is not None else ()
        )
        return known[0] if known else "security_incident"
