"""The engine's loop over grants: who passed by them, what policy says of it afterwards, and their early end.

A grant ends by itself as soon as policy has answered for a minute. Every call that passed is asked again with
what was recorded of it; what is found stands in the timeline, and the incident cannot be resolved before.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from airlock.audit import database
from airlock.audit.standing import standing
from airlock.core import sealed
from airlock.core.clock import Clock
from airlock.core.errors import ConfigError, Fault, PolicyFault
from airlock.incident import debt as debts
from airlock.incident.debt import Decides
from airlock.model.grant import Debt, Grant
from airlock.model.incident import SYSTEM_ACTOR, IncidentEvent
from airlock.model.lease import Unfit
from airlock.store import grants
from airlock.store.database import Store

EVERY = 2.0
"""Seconds between two looks."""

HEALTHY = 60.0
"""Seconds for which policy must have answered before a grant ends by itself."""


ARRIVED = 15.0
"""Seconds after the end of a grant until every call that passed by it is durable in a journal."""


class Policy(Decides, Protocol):
    """The policy in force."""

    def trouble(self) -> str: ...


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Debts:
    """One for each engine. `policy` makes an engine of the policy in force, in the thread that asks it."""

    def __init__(
        self,
        *,
        store: Store,
        data: Path,
        policy: Callable[[], Policy],
        look: Callable[[], None],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`look` lets every worker look at the store."""
        self._store = store
        self._data = data
        self._policy = policy
        self._look = look
        self._clock = clock
        self._log = log
        self._well_since: float | None = None
        self._awaited: dict[str, dict[str, int]] = {}
        """Of a grant that is over: how far every chain of the log has to be."""
        self.trouble = ""
        """What is wrong, while it is tried again; empty: nothing."""

    async def run(self) -> None:
        """Work until cancelled. What fails is tried again."""
        while True:
            try:
                await asyncio.to_thread(self.once)
                self.trouble = ""
            except (Fault, sqlite3.Error, ConfigError, OSError) as failed:
                if not self.trouble:
                    self.trouble = str(failed) or "policy answers nothing"
                    self._log.error("debt_stale", detail=self.trouble)
            await asyncio.sleep(EVERY)

    def once(self) -> None:
        """One look. Blocks."""
        given = grants.listing(self._store)
        owing = [grant for grant in given if self._owes(grant)]
        if not owing:
            self._well_since = None
            return
        for grant in owing:
            self._note(grant)
        policy = self._policy()
        now = self._clock.monotonic()
        if policy.trouble():
            self._well_since = None
            return
        self._well_since = now if self._well_since is None else self._well_since
        for grant in owing:
            self._judge(grant, policy)
            if grant.holds(self._clock.wall()) and now - self._well_since >= HEALTHY:
                self._end(grant)

    @property
    def _log_file(self) -> Path:
        return self._data / "audit.db"

    def _owes(self, grant: Grant) -> bool:
        """With calls that nobody noted or judged yet."""
        return grant.counted_at is None or bool(grants.debt(self._store, grant=grant.id, state="open"))

    def _note(self, grant: Grant) -> None:
        """Who passed by it. That these are all is certain once it is over and no row can be on its way."""
        now = self._clock.wall()
        over = grant.expires_at if grant.ended_at is None else grant.ended_at
        whole = grant.counted_at is None and now >= over + ARRIVED and self._arrived(grant)
        grants.owe(self._store, [debts.owed(row, grant) for row in debts.passed(self._log_file, grant)])
        if whole:
            grants.counted(self._store, id=grant.id, now=now)
            self._awaited.pop(grant.id)

    def _arrived(self, grant: Grant) -> bool:
        """Whether the log has what the journals had when every call that passed was durable there."""
        if grant.id not in self._awaited:
            chains = standing(self._data / "journal")
            self._awaited[grant.id] = {uid: chain.durable for uid, chain in chains.items() if chain.durable}
        with closing(database.open_reader(self._log_file)) as log:
            heads = database.heads(log)
        return all(uid in heads and heads[uid].seq >= seq for uid, seq in self._awaited[grant.id].items())

    def _judge(self, grant: Grant, policy: Policy) -> None:
        rows = {row.id: row for row in debts.passed(self._log_file, grant)}
        opens = sealed.load_keys(self._data)
        done: list[Debt] = []
        for owed in grants.debt(self._store, grant=grant.id, state="open"):
            try:
                judged = debts.judged(owed, rows.get(owed.id), opens=opens, engine=policy)
            except PolicyFault:  # it fails again: what is judged is kept, the rest waits
                break
            if judged != owed:
                done.append(judged)
        if done:
            grants.settle(
                self._store, done, incident=grant.incident, told=lambda settled: self._told(grant, settled)
            )

    def _told(self, grant: Grant, done: Sequence[Debt]) -> IncidentEvent:
        now = self._clock.wall()
        counts = {
            state: sum(each.state == state for each in done) for state in ("upheld", "violation", "open")
        }
        self._log.info("debt", grant=grant.id, incident=grant.incident, **counts)
        violations = [each for each in done if each.state == "violation"]
        return IncidentEvent(
            kind="decision",
            at=now,
            occurred_at=now,
            actor=SYSTEM_ACTOR,
            summary=f"Calls that passed without a decision were judged: {counts['upheld']} upheld, "
            f"{counts['violation']} would have been refused, {counts['open']} cannot be told",
            details={
                "grant": grant.id,
                **counts,
                "violations": [
                    {"resource": each.resource, "reason": each.why, "tenant": each.tenant}
                    for each in violations[:100]
                ],
            },
            refs=tuple(each.id for each in violations[:100]),
        )

    def _end(self, grant: Grant) -> None:
        now, why = self._clock.wall(), f"policy has answered for {HEALTHY:g} seconds"
        event = IncidentEvent(
            kind="decision",
            at=now,
            occurred_at=now,
            actor=SYSTEM_ACTOR,
            summary=f"Failing open ended: {why}",
            details={"grant": grant.id},
            once=f"grant_ended:{grant.id}",
        )
        with contextlib.suppress(Unfit):  # it was over before
            grants.end(self._store, id=grant.id, by="airlock", reason=why, now=now, told=lambda _: event)
            self._look()
