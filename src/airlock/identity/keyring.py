"""What is known of one provider's keys: fetched, rotated, stale, failed. Values in, values out.

Keys serve until the provider withdraws them, or until it could not be asked for longer than `stale`. A key
that is published again stays the same object, so what was verified with it stays verified. Times are
monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from airlock.identity.discovery import Pinned
from airlock.model.health import State

REFRESH = 300.0
"""Seconds between two looks at a provider that answers."""

AGAIN_FIRST, AGAIN_MOST = 2.0, 60.0
"""Seconds until a provider that failed is asked again, doubling."""

COOLDOWN = 1.0
"""Seconds between two looks because of unknown keys: strangers make them up, and rotation must not wait."""


class Ring(msgspec.Struct, frozen=True, kw_only=True):
    """One provider."""

    issuer: str
    stale: float
    """Seconds."""
    keys: Mapping[str, Pinned] = msgspec.field(default_factory=dict[str, Pinned])
    asked: float | None = None
    """When it was last asked, in vain or not."""
    failing: float | None = None
    """Since when it could not be asked; None: the last answer was good, or it was never asked."""
    failures: int = 0
    reason: str = ""
    """Why the last look failed."""


def remembered(ring: Ring, keys: Mapping[str, Pinned], fetched: float) -> Ring:
    """With keys of an earlier process: as old as they are, and no look has confirmed them since."""
    return msgspec.structs.replace(ring, keys=keys, failing=fetched)


def renewed(ring: Ring, keys: Mapping[str, Pinned], now: float) -> Ring:
    """After a good look."""
    same = {kid: _known(ring.keys.get(kid), pinned) for kid, pinned in keys.items()}
    return Ring(issuer=ring.issuer, stale=ring.stale, keys=same, asked=now)


def missed(ring: Ring, reason: str, now: float) -> Ring:
    """After a look that failed."""
    return msgspec.structs.replace(
        ring,
        asked=now,
        failing=now if ring.failing is None else ring.failing,
        failures=ring.failures + 1,
        reason=reason,
    )


def due(ring: Ring) -> float:
    """When to look next."""
    if ring.asked is None:
        return 0.0
    if not ring.failures:
        return ring.asked + REFRESH
    return ring.asked + min(AGAIN_FIRST * 2 ** min(ring.failures - 1, 10), AGAIN_MOST)


def due_for_unknown_key(ring: Ring) -> float:
    """When to look next because a token names a key that is not here."""
    if ring.asked is None or ring.failures:
        return due(ring)
    return ring.asked + COOLDOWN


def expires(ring: Ring) -> float | None:
    """When the keys stop serving unless a look succeeds; None while all is well."""
    return None if ring.failing is None else ring.failing + ring.stale


def serving(ring: Ring, now: float) -> Mapping[str, Pinned]:
    """The keys that count."""
    end = expires(ring)
    return ring.keys if end is None or now < end else {}


def judge(rings: Iterable[Ring], now: float, *, others: bool) -> tuple[State, str]:
    """The state of all providers together. `others`: tokens of another issuer count too.

    Failed is a gateway that could let nobody in; while anybody's keys are good, calls are safe.
    """
    every = tuple(rings)
    keyless = [ring for ring in every if not serving(ring, now)]
    failing = [ring for ring in every if ring.failures]
    if not every:
        return ("ok", "") if others else ("failed", "no issuer is configured")
    reasons = ", ".join(sorted({ring.reason for ring in failing})) or "not asked yet"
    if keyless:
        state: State = "degraded" if others or len(keyless) < len(every) else "failed"
        return state, f"no keys of {len(keyless)} of {len(every)} identity providers: {reasons}"
    if failing:
        return "degraded", f"{len(failing)} of {len(every)} identity providers serve old keys: {reasons}"
    return "ok", ""


def _known(before: Pinned | None, after: Pinned) -> Pinned:
    unchanged = (
        before is not None
        and before[0] == after[0]
        and before[1].as_dict(private=False) == after[1].as_dict(private=False)
    )
    return before if before is not None and unchanged else after
