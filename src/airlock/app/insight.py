"""Wiring: what a worker answers when it is asked what goes on in it: its heap, its caches, its stages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from airlock.app import heap
from airlock.app.peers import Peers
from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.core.heap import Tracing
from airlock.core.recent import Recent
from airlock.gateway.authorize import Engine
from airlock.identity.tokens import CACHE_TOKENS, Verifier
from airlock.policy.cache import DecisionCache
from airlock.policy.embedded import EmbeddedEngine

WINDOWS = {"1m": 60.0, "5m": 300.0, "1h": 3600.0}
"""What is told of the time before, seconds."""

EVERY = 5.0
"""Seconds between two looks at what counts by itself."""


class Insight:
    """One worker, from inside. Used on its event loop."""

    def __init__(
        self,
        *,
        engine: Callable[[], Engine],
        verifier: Verifier,
        hand_over: Callable[[], object],
        peers: Peers,
        clock: Clock,
    ) -> None:
        """`engine` gives the one that decides; `hand_over` hands over what was noted but not yet counted."""
        self._engine = engine
        self._verifier = verifier
        self._hand_over = hand_over
        self._tokens = Recent(clock), Recent(clock)
        self._seen = 0, 0
        self.tracing = Tracing(clock)
        self.peers = peers
        self.peers.answers |= {
            "heap": heap.answerer(self.tracing),
            "caches": self.caches,
            "latency": self.latency,
        }

    async def run(self) -> None:
        """Count what the tokens did, and end the tracing that nobody wants any more."""
        while True:
            self._count()
            self.tracing.tick()
            await asyncio.sleep(EVERY)

    def remembering(self) -> dict[str, Any]:
        """Whether decisions are remembered here, and where not, why."""
        told = remembering(self._engine())
        return {"state": told["state"], "why": told["why"]}

    async def caches(self) -> dict[str, Any]:
        """How each cache stands, and what it was asked lately."""
        self._count()
        self._hand_over()
        decisions = _asked(metrics.CACHE_HITS.recent, metrics.CACHE_MISSES.recent)
        tokens: dict[str, Any] = {
            "state": "on",
            "why": [],
            "held": self._verifier.remembered,
            "size": CACHE_TOKENS,
        }
        return {
            "policy_decisions": {**remembering(self._engine()), "recent": decisions},
            "tokens": {**tokens, "recent": _asked(*self._tokens)},
        }

    async def latency(self) -> dict[str, Any]:
        """Of each stage, the buckets of what it took lately: pairs of number and count, by window."""
        self._hand_over()
        return {
            took.stage: {name: sorted(took.recent.over(window).items()) for name, window in WINDOWS.items()}
            for took in metrics.STAGES
        }

    def _count(self) -> None:
        asked, missed = self._verifier.asked, self._verifier.missed
        before, self._seen = self._seen, (asked, missed)
        misses = missed - before[1]
        for recent, grown in zip(self._tokens, (asked - before[0] - misses, misses), strict=True):
            if grown:
                recent.add({0: grown})


def remembering(engine: Engine) -> dict[str, Any]:
    """Whether decisions are remembered: `on`; `off`, by `policy.cache_ttl`; or `impossible`, and why."""
    if isinstance(engine, DecisionCache):
        held, size, ttl = engine.standing
        return {"state": "on", "why": [], "held": held, "size": size, "ttl_s": ttl}
    doubts = engine.footprint.doubts if isinstance(engine, EmbeddedEngine) else ()
    if doubts:
        return {"state": "impossible", "why": [str(doubt) for doubt in doubts], "held": 0}
    return {"state": "off", "why": ["policy.cache_ttl is 0"], "held": 0}


def _asked(hits: Recent, misses: Recent) -> dict[str, Any]:
    return {
        name: {"hits": hits.over(window).get(0, 0), "misses": misses.over(window).get(0, 0)}
        for name, window in WINDOWS.items()
    }
