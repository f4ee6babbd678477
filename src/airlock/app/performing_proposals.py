"""Steps that may let more pass: each makes a proposal, and waits until people have decided on it.

A step never decides anything itself. Found again after a crash, its proposal is the one that names it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

from airlock.app.performed import Order, Outcome
from airlock.core import units
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.incident import actions, approval, loosening, proposals, rollback
from airlock.model.proposal import Order as Wanted
from airlock.model.proposal import Proposal
from airlock.store import proposals as kept
from airlock.store.database import Store

POLL = 0.5
"""Seconds between two looks at a proposal."""


class Proposing:
    """Carries such steps out. `config` gives the configuration of the moment."""

    def __init__(self, *, store: Store, config: Callable[[], Config], clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock

    async def __call__(self, order: Order) -> Outcome:
        """Propose, once, and wait until it was carried out, or will not be. Raises `Unfit`."""
        id = await asyncio.to_thread(self._proposed, order)
        while True:
            found = await asyncio.to_thread(kept.get, self._store, id)
            if found is None:
                return Outcome(ok=False, detail=f"proposal {id} is gone")
            state = approval.standing(found, self._clock.wall()).state
            if state == "ACTIVE":
                return Outcome(ok=True, output=f"proposal {id} was carried out by {found.ended_by}")
            if state in ("REJECTED", "EXPIRED", "FAILED"):
                why = f": {found.end_reason}" if found.end_reason else ""
                return Outcome(ok=False, detail=f"proposal {id} is {state.lower()}{why}")
            await asyncio.sleep(POLL)

    def _proposed(self, order: Order) -> str:
        since = order.entry.started_at or 0.0
        for known in kept.listing(self._store, incident=order.incident):
            if known.order.reason == order.mark and known.created_at >= since:
                return known.id
        return self._propose(order).id

    def _propose(self, order: Order) -> Proposal:
        now, data = self._clock.wall(), Path(self._config().data_dir)
        wanted = proposals.completed(self._store, data, _wanted(order))
        try:
            prediction = proposals.predict(self._store, data / "audit.db", wanted, now=now)
        except sqlite3.Error:
            prediction = None
        return proposals.propose(self._store, wanted, by=order.by, now=now, prediction=prediction)


def _wanted(order: Order) -> Wanted:
    given = order.entry.params
    if order.action == rollback.ACTION:
        return Wanted(
            action=rollback.ACTION,
            selector={"to": actions.text(given["to"])},
            reason=order.mark,
            incident=order.incident,
        )
    return Wanted(
        action=loosening.ACTION,
        selector={"tools": actions.text(given["tools"])},
        ttl=units.duration(actions.text(given["ttl"])) if "ttl" in given else None,
        reason=order.mark,
        incident=order.incident,
    )
