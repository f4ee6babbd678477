"""The circumstances in which a step of an incident is decided: who asks, when, and what is true then."""

from __future__ import annotations

import msgspec

from airlock.model.incident import Actor


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """A verification run: when it ended, and the checks that were not green."""

    at: float
    red: tuple[str, ...] = ()


class HeldLease(msgspec.Struct, frozen=True, kw_only=True):
    """A tightening lease of the incident that is in force. `owner` empty: it belongs to no person."""

    id: str
    action: str
    owner: str = ""
    ends: bool = True
    """Whether it has an end."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is true outside of the record when a step is decided."""

    verification: Verification | None = None
    """The newest run since the incident was mitigated."""
    grants: tuple[str, ...] = ()
    """Loosening grants that are in force."""
    uncounted: tuple[str, ...] = ()
    """Loosening grants, over or not, of which not every call is noted that passed."""
    debt: int = 0
    """Calls let through by a grant that nobody has judged."""
    leases: tuple[HeldLease, ...] = ()
    monitoring_until: float | None = None
    """How long enhanced monitoring lasts."""
    containments: int = 0
    """Leases that were ever given for the incident."""
    evidence: tuple[str, ...] = ()
    """References that the timeline has: rows, bundles, files."""
    events: int = 0
    """Length of the timeline."""
    bundle_sealed: bool = False
    bundle_verified: bool = False
    """The newest bundle was verified after it was sealed."""
    repeated: bool = False
    """Another incident of this type was opened in the 30 days before."""


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, at what time (Unix seconds), and what is true then."""

    actor: Actor
    now: float
    facts: Facts = Facts()
