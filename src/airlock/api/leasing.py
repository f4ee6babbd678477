"""Giving and taking back leases over HTTP: what every address that does so has in common.

1 what is asked is fit, all of it, and locks nobody out who must stay in
2 the store has it: from here on it holds, whatever happens to this worker
3 every worker is told to look
4 the answer waits for all of them and for the row in the audit log, but not for long, and says who did not
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from airlock.api.door import document, invalid
from airlock.core import units
from airlock.core.clock import Clock, rfc3339
from airlock.core.errors import Rejected
from airlock.mcp import strict
from airlock.model import guards
from airlock.model.http import HttpRequest
from airlock.model.lease import LONGEST_TEXT, Action, Lease, Origin, Selector, Unfit
from airlock.model.principal import Principal
from airlock.store import leases, replicas
from airlock.store.changes import LEASES, Change
from airlock.store.database import Store
from airlock.store.leases import Activated
from airlock.store.replicas import Receipt

PATIENCE = 1.0
"""Seconds that an answer waits: within them every worker enforces a change (8.3)."""

STEP = 0.02
"""Seconds between two looks at who does."""

NO_REASON = "no reason given"

_HTTP = {"lease_unknown": 404, "lease_ended": 409, "irreversible": 409, "setting_held": 409}
"""Status of what is unfit by its word; everything else is 422."""

_Given = TypeVar("_Given")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that somebody asks for. `ttl` in seconds; None: the usual of its action."""

    action: Action
    selector: Selector
    ttl: float | None
    reason: str
    incident: str
    key: str = ""
    """Idempotency key; empty: none."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a change: the leases as they are after it, and who enforces them."""

    leases: tuple[Lease, ...]
    epoch: int
    receipt: Receipt
    audit_seq: int | None
    """Of the newest change's row; None: it is not durable yet."""

    @property
    def status(self) -> int:
        """200 when every worker enforces the change and it is recorded, else 207."""
        enforced = self.receipt.acked > 0 and not self.receipt.missing
        return 200 if enforced and self.audit_seq is not None else 207

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


class Leasing:
    """Changes the leases in the store. `look` tells every worker, this one included, to look at it."""

    def __init__(
        self,
        *,
        store: Store,
        trusted_proxies: Sequence[str],
        look: Callable[[], Awaitable[None]],
        clock: Clock,
        origin: Origin = "api",
    ) -> None:
        self._store = store
        self._proxies = trusted_proxies
        self._origin: Origin = origin
        self._look = look
        self._clock = clock

    async def give(self, request: HttpRequest, admin: Principal, wanted: Sequence[Wanted]) -> Outcome:
        """Give the leases, all of which are fit or none is given. `wanted` is not empty.

        Raises `Rejected` with the word of what is unfit.
        """
        for each in wanted:  # 1
            self.harmless(request, each.selector)
        given = await asyncio.to_thread(self._given, wanted, admin)  # 2
        return await self._enforced(given)

    def harmless(self, request: HttpRequest, selector: Selector) -> None:
        """Raise `Rejected` where a lease would lock out whoever asks, or everybody."""
        fit(lambda: guards.lock_out(selector, request.source_ip, self._proxies))

    async def take_back(self, admin: Principal, lease: str, reason: str) -> Outcome:
        """Release a lease. Raises `Rejected`: 404 `lease_unknown`, 409 `lease_ended` or `irreversible`."""
        return await self.take_back_all(admin, [lease], reason)

    async def take_back_all(self, admin: Principal, several: Sequence[str], reason: str) -> Outcome:
        """Release several leases, at least one, or none of them. Raises as `take_back` does."""
        ended = await asyncio.to_thread(lambda: fit(lambda: self._released(admin, several, reason)))
        return await self._enforced(ended)

    async def listing(self, *, include_ended: bool, action: Action | None = None) -> list[Lease]:
        """Leases in force, or all of them, the oldest first."""
        return await asyncio.to_thread(
            lambda: leases.listing(
                self._store, now=self._clock.wall(), include_ended=include_ended, action=action
            )
        )

    async def find(self, lease: str) -> Lease:
        """One lease. Raises `Rejected` 404 `lease_unknown`."""
        found = await asyncio.to_thread(lambda: leases.get(self._store, id=lease, now=self._clock.wall()))
        if found is None:
            raise unknown()
        return found

    def _released(self, admin: Principal, several: Sequence[str], reason: str) -> list[Activated]:
        who, now = actor(admin), self._clock.wall()
        with self._store.change(LEASES) as change:
            return [leases.release(change, id=id, actor=who, reason=reason, now=now) for id in several]

    def _given(self, wanted: Sequence[Wanted], admin: Principal) -> list[Activated]:
        """In one transaction: all of them or none."""
        with self._store.change(LEASES) as change:
            return [self._activated(change, each, admin) for each in wanted]

    def _activated(self, change: Change, wanted: Wanted, admin: Principal) -> Activated:
        return fit(
            lambda: leases.activate(
                change,
                action=wanted.action,
                selector=wanted.selector,
                ttl=wanted.ttl,
                reason=wanted.reason,
                actor=actor(admin),
                origin=self._origin,
                now=self._clock.wall(),
                idempotency_key=wanted.key,
                incident=wanted.incident,
            )
        )

    async def _enforced(self, changes: Sequence[Activated]) -> Outcome:
        """3 and 4."""
        end = self._clock.monotonic() + PATIENCE
        await self._look()
        while True:
            outcome = await asyncio.to_thread(self._seen, changes)
            nobody = outcome.receipt.total == 0 and self._origin == "cli"  # else this worker is one
            if outcome.status == 200 or nobody or self._clock.monotonic() >= end:
                return outcome
            await asyncio.sleep(STEP)

    def _seen(self, changes: Sequence[Activated]) -> Outcome:
        last = max(changes, key=lambda change: change.epoch)
        return Outcome(
            leases=tuple(change.lease for change in changes),
            epoch=last.epoch,
            receipt=replicas.receipt(self._store, epoch=last.epoch, now=self._clock.wall()),
            audit_seq=leases.recorded(self._store, id=last.lease.id, epoch=last.epoch),
        )


def fit(make: Callable[[], _Given]) -> _Given:
    """What `make` gives. Raises `Rejected` with the word of what is unfit."""
    try:
        return make()
    except Unfit as unfit:
        raise Rejected(_HTTP.get(unfit.reason, 422), -32602, unfit.reason, unfit.text) from unfit


def unknown() -> Rejected:
    """There is no such lease, or none that is asked for here."""
    return Rejected(404, strict.INVALID_REQUEST, "lease_unknown", "There is no lease of this id.")


def actor(admin: Principal) -> str:
    """Who asks, as a lease names it: an account of this machine has no issuer."""
    return f"{admin.issuer}|{admin.subject}" if admin.issuer else admin.subject


def seconds(duration: str) -> float | None:
    """The seconds of `1h`; None for an empty text. Raises `Rejected` 422 `duration_invalid`."""
    try:
        return units.duration(duration) if duration else None
    except ValueError as wrong:
        raise invalid(
            "duration_invalid", f"{duration[:64]!r} is {wrong}: write 30s, 5m, 1h or 2d."
        ) from wrong


def incident(text: str) -> str:
    """The id of an incident, or an empty text. Raises `Rejected` 422 `invalid_params`."""
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise invalid("invalid_params", f"incident takes up to {LONGEST_TEXT} printable characters.")
    return text


class _Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str = ""


def why(request: HttpRequest) -> str:
    """The reason that the body of a DELETE gives: `{"reason": ...}`, or no body at all."""
    given = document(request, _Why).reason if request.body else ""
    return given or NO_REASON


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
