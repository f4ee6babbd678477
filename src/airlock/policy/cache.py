"""Decisions remembered: the same facts get the same answer from the same revision without asking again.

The key is the SHA-256 of the revision, the caller's tenant and the values of the footprint, byte for byte as
the question has them, so that no two values count as equal that JSON tells apart. Facts outside the footprint
cannot change the answer; time is a fact like any other, so a policy that reads the hour is asked again when
that changes. Only answers are remembered, never faults. Containment, revocations, pins, limits and budgets
are not part of policy: they are checked on every call.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from airlock.core.clock import SYSTEM, Clock
from airlock.policy.facts import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airlock.model.decision import Decision
    from airlock.policy.embedded import EmbeddedEngine
    from airlock.policy.footprint import Names

MAX_OPENED = 100
"""Brackets in a question. The engine refuses what is nested deeper than 128, also where the policy does not
look, so a question with more brackets is always asked."""


class DecisionCache:
    """Stands in front of one engine, in the engine's thread. Holds at most `size` answers, each for `ttl`
    seconds; the one that was not used for longest goes first."""

    def __init__(
        self,
        engine: EmbeddedEngine,
        *,
        paths: Iterable[Names],
        ttl: float,
        size: int,
        clock: Clock = SYSTEM,
        counted: Callable[[bool], None] | None = None,
    ) -> None:
        """`paths` is the proved footprint of the engine's policy. `counted` gets True for each question that
        was answered from memory, False for each that could have been."""
        self._engine = engine
        self._ttl = ttl
        self._size = size
        self._clock = clock
        self._counted = counted
        self.facts = Facts(paths)
        self._revision = engine.revision.encode()
        self._held: OrderedDict[bytes, tuple[float, Decision]] = OrderedDict()

    @property
    def revision(self) -> str:
        return self._engine.revision

    @property
    def standing(self) -> tuple[int, int, float]:
        """Answers that are held, the most that may be, and for how many seconds each counts."""
        return len(self._held), self._size, self._ttl

    def decide(self, question: bytes) -> Decision:
        """As the engine answers. Raises PolicyFault."""
        key = self._key(question)
        if key is None:
            return self._engine.decide(question)
        now = self._clock.monotonic()
        found = self._held.get(key)
        hit = found is not None and now < found[0]
        if self._counted:
            self._counted(hit)
        if found is not None and hit:
            self._held.move_to_end(key)
            return found[1]
        decision = self._engine.decide(question)
        self._held[key] = now + self._ttl, decision
        self._held.move_to_end(key)
        if len(self._held) > self._size:
            self._held.popitem(last=False)
        return decision

    def trouble(self) -> str:
        """As the engine says. Where it can answer nothing, nothing that it said before counts either."""
        trouble = self._engine.trouble()
        if trouble:
            self._held.clear()
        return trouble

    def _key(self, question: bytes) -> bytes | None:
        """None for what is no ordinary question: the engine has the say."""
        if question.count(b"[") + question.count(b"{") > MAX_OPENED:
            return None
        try:
            facts = self.facts(question)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return sha256(self._revision + facts).digest()
