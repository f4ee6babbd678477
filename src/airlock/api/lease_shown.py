"""A lease as answers have it, and who enforces it."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

from airlock.core.clock import rfc3339
from airlock.model.lease import Lease
from airlock.store.replicas import Receipt


class Shown(TypedDict):
    """A lease as answers have it. Times in RFC 3339; `remaining_seconds` null: it has no end."""

    id: str
    action: str
    selector: dict[str, Any]
    state: str
    reason: str
    actor: str
    origin: str
    incident: str
    epoch: int
    created_at: str
    expires_at: str | None
    max_until: str | None
    remaining_seconds: int | None
    ended_at: str | None
    ended_by: str
    end_reason: str


class Enforced(TypedDict):
    """Who enforces a change. `audit_seq` null: it is not in the log yet."""

    epoch: int
    replicas_acked: int
    replicas_total: int
    missing: list[str]
    audit_seq: int | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a change: the leases as they are after it, and who enforces them."""

    leases: tuple[Lease, ...]
    epoch: int
    receipt: Receipt
    audit_seq: int | None
    """Of the newest change's row; None: it is not durable yet, or there was no change."""

    @property
    def status(self) -> int:
        """200 when every worker enforces the change and it is recorded, else 207."""
        enforced = self.receipt.acked > 0 and not self.receipt.missing
        recorded = self.audit_seq is not None or not self.leases
        return 200 if enforced and recorded else 207

    @property
    def told(self) -> dict[str, object]:
        """As every answer to a change has it."""
        return {
            "epoch": self.epoch,
            "replicas_acked": self.receipt.acked,
            "replicas_total": self.receipt.total,
            "missing": self.receipt.missing,
            "audit_seq": self.audit_seq,
        }


def shown(lease: Lease, now: float) -> dict[str, object]:
    """A lease as answers have it: times in RFC 3339, and the whole seconds that are left (null: no end)."""
    return {
        "id": lease.id,
        "action": lease.action,
        "selector": lease.selector,
        "state": lease.state,
        "reason": lease.reason,
        "actor": lease.actor,
        "origin": lease.origin,
        "incident": lease.incident,
        "epoch": lease.epoch,
        "created_at": rfc3339(lease.created_at),
        "expires_at": _time(lease.expires_at),
        "max_until": _time(lease.max_until),
        "remaining_seconds": remaining(lease, now),
        "ended_at": _time(lease.ended_at),
        "ended_by": lease.ended_by,
        "end_reason": lease.end_reason,
    }


def remaining(lease: Lease, now: float) -> int | None:
    """Whole seconds for which a lease still holds, 0 when it does not; None: it has no end."""
    if not lease.holds(now):
        return 0
    return None if lease.expires_at is None else max(1, round(lease.expires_at - now))


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
