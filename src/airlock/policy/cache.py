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
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from airlock.core.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airlock.model.decision import Decision
    from airlock.policy.embedded import EmbeddedEngine
    from airlock.policy.footprint import Names

TENANT = ("subject", "tenant")
"""In every key, whatever the policy reads: tenants share no answer."""

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
        self._facts = msgspec.json.Decoder(_facts(paths)).decode
        self._encode = msgspec.json.Encoder().encode
        self._revision = engine.revision.encode()
        self._held: OrderedDict[bytes, tuple[float, Decision]] = OrderedDict()

    @property
    def revision(self) -> str:
        return self._engine.revision

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

    def _key(self, question: bytes) -> bytes | None:
        """None for what is no ordinary question: the engine has the say."""
        if question.count(b"[") + question.count(b"{") > MAX_OPENED:
            return None
        try:
            facts = self._facts(question)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return sha256(self._revision + self._encode(facts)).digest()


def _facts(paths: Iterable[Names]) -> type[msgspec.Struct]:
    """A Struct that takes the named parts of a question as the bytes they are, and skips the others."""
    tree: dict[str, Any] = {}
    for path in sorted({TENANT, *paths}):  # a whole section comes before its parts
        place: dict[str, Any] | None = tree
        for name in path[:-1]:
            place = place.setdefault(name, {}) if place is not None else None
        if place is not None:
            place.setdefault(path[-1], None)
    return _struct(tree)


def _struct(tree: dict[str, Any]) -> type[msgspec.Struct]:
    """Names of arguments need not be names of Python: fields are numbered, and renamed in JSON."""
    names = {f"f{number}": name for number, name in enumerate(tree)}
    fields: list[tuple[str, Any, Any]] = [
        (field, (Raw if tree[name] is None else _struct(tree[name])) | UnsetType, UNSET)
        for field, name in names.items()
    ]
    return msgspec.defstruct("Facts", fields, rename=names, frozen=True, gc=False)
