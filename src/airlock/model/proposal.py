"""Actions that wait for people: what is asked, what it would have done, who agreed. Times: Unix seconds."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from airlock.model.incident import Actor

Class = Literal["A", "B", "C", "D"]
"""A changes nothing for callers, B tightens narrowly, C broadly, D loosens."""

State = Literal["PROPOSED", "DRY_RUN", "APPROVED", "ACTIVE", "REJECTED", "EXPIRED", "FAILED"]

Loosening = Literal["server.restore", "lease.release", "failmode.open", "policy.rollback"]
LOOSENING: tuple[Loosening, ...] = get_args(Loosening)
"""Actions beside those of leases. Each takes something back, or may let something pass."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody wants done, word for word. An approval covers all of it."""

    action: str
    selector: dict[str, str]
    ttl: float | None = None
    """Seconds; None: the usual of the action."""
    reason: str
    incident: str = ""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What an order would have done to the calls of a while ago."""

    since: float
    until: float
    requests: int
    """Calls that were let through; for another policy, those that policy was asked about."""
    flipped: int
    """Of them, those that would have been refused, or whose result would have been held back."""
    sessions: int
    users: int
    tenants: tuple[str, ...]
    tools: tuple[tuple[str, int], ...]
    """`server/tool` and calls, the most first."""
    share: float
    unknown: int
    """Calls of which nobody can say: their record lacks what decides."""
    unknown_share: float
    of_incident: int
    """Of those that flip, how many the alerts of the incident name."""
    sample: tuple[str, ...]
    """Ids of audit rows."""
    opened: int = 0
    """Calls that would have passed and were refused, or with fewer obligations."""
    truncated: bool = False
    """There were more calls than are replayed: the newest were."""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who agreed, and to what exactly."""

    person: str
    """`issuer|subject`."""
    at: float
    digest: str
    auth_time: int | None = None
    acr: str = ""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """An order, and how far it is."""

    id: str
    order: Order
    by: Actor
    created_at: float
    state: State = "PROPOSED"
    needs: Class
    why: tuple[str, ...] = ()
    """What made it that class."""
    prediction: Prediction | None = None
    digest: str
    """Of the order and its prediction: what an approval covers."""
    approvals: tuple[Approval, ...] = ()
    lease: str = ""
    """The lease that was given or released."""
    ended_at: float | None = None
    ended_by: str = ""
    end_reason: str = ""
    version: int = 1
