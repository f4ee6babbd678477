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

from airlock.api.entries import invalid, optional
from airlock.api.lease_shown import Outcome
from airlock.api.persons import agreed
from airlock.core import units
from airlock.core.clock import Clock
from airlock.core.errors import Rejected
from airlock.mcp import strict
from airlock.model import guards
from airlock.model.http import HttpRequest
from airlock.model.lease import LONGEST_TEXT, Action, Lease, Origin, Selector, Unfit
from airlock.model.principal import Principal
from airlock.model.proposal import Order
from airlock.store import leases, replicas, servers
from airlock.store.changes import LEASES, Change
from airlock.store.database import Store
from airlock.store.leases import Activated

PATIENCE = 1.0
"""Seconds that an answer waits: within them every worker enforces a change (8.3)."""

STEP = 0.02
"""Seconds between two looks at who does."""

NO_REASON = "no reason given"

_HTTP = {
    "lease_unknown": 404,
    "lease_ended": 409,
    "irreversible": 409,
    "setting_held": 409,
    "admin_frozen": 409,
    "containment_active": 409,
    "proposal_unknown": 404,
    "incident_missing": 409,
    "severity_too_low": 409,
    "engine_healthy": 409,
    "grant_active": 409,
    "grant_unknown": 404,
    "grant_ended": 409,
    "debt_unknown": 404,
    "debt_settled": 409,
    "debt_unjudged": 409,
    "approver_repeated": 409,
    "proposal_ended": 409,
    "approval_void": 409,
    "approved_already": 409,
    "approver_required": 403,
    "approver_automation": 403,
    "login_insufficient": 403,
    "playbook_unknown": 404,
    "playbook_inactive": 409,
    "incident_required": 409,
    "incident_unknown": 404,
    "incident_ended": 409,
    "run_unknown": 404,
    "run_ended": 409,
    "run_state_unfit": 409,
    "step_unknown": 404,
    "step_not_waiting": 409,
    "decision_unfit": 409,
    "revision_unknown": 404,
    "revision_in_force": 409,
    "policy_frozen": 409,
    "version_conflict": 412,
    "idempotency_conflict": 409,
}
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
    origin: Origin | None = None
    """None: by way of which this was asked."""
    for_good: bool = False
    """It ends by a release only."""

    @property
    def order(self) -> Order:
        """The same in the words of a proposal."""
        selector: dict[str, str] = msgspec.to_builtins(self.selector)
        return Order(action=self.action, selector=selector, ttl=self.ttl, reason=self.reason)


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
        self.store = store
        self._proxies = trusted_proxies
        self._origin: Origin = origin
        self._look = look
        self._clock = clock

    async def give(self, request: HttpRequest, admin: Principal, wanted: Sequence[Wanted]) -> Outcome:
        """Give the leases, all of which are fit or none is given. `wanted` is not empty.

        Raises `Rejected` with the word of what is unfit.
        """
        for each in wanted:  # 1
            fit(lambda each=each: agreed(admin, each.order))
            self.harmless(request, each.selector)
        given = await asyncio.to_thread(self._given, wanted, admin)  # 2
        return await self.enforced(given)

    def harmless(self, request: HttpRequest, selector: Selector) -> None:
        """Raise `Rejected` where a lease would lock out whoever asks, or everybody."""
        fit(lambda: guards.lock_out(selector, request.source_ip, self._proxies))

    async def take_back(self, admin: Principal, lease: str, reason: str) -> Outcome:
        """Release a lease. Raises `Rejected`: 404 `lease_unknown`; 409 `lease_ended`, `irreversible`,
        `admin_frozen`, `containment_active` for a server that an open incident names."""
        return await self.take_back_all(admin, [lease], reason)

    async def take_back_all(self, admin: Principal, several: Sequence[str], reason: str) -> Outcome:
        """Release several leases, at least one, or none of them. Raises as `take_back` does."""
        agreed(admin)
        ended = await asyncio.to_thread(lambda: fit(lambda: self._released(admin, several, reason)))
        return await self.enforced(ended)

    async def extend(self, admin: Principal, lease: str, ttl: float, reason: str) -> Outcome:
        """Let a lease last longer. Raises `Rejected` as `take_back` does, 422 `duration_too_long`."""
        agreed(admin)

        def work() -> Activated:
            now = self._clock.wall()
            return leases.extend(self.store, id=lease, ttl=ttl, actor=actor(admin), reason=reason, now=now)

        return await self.enforced([await asyncio.to_thread(lambda: fit(work))])

    async def listing(self, *, include_ended: bool, action: Action | None = None) -> list[Lease]:
        """Leases in force, or all of them, the oldest first."""
        return await asyncio.to_thread(
            lambda: leases.listing(
                self.store, now=self._clock.wall(), include_ended=include_ended, action=action
            )
        )

    async def find(self, lease: str) -> Lease:
        """One lease. Raises `Rejected` 404 `lease_unknown`."""
        found = await asyncio.to_thread(lambda: leases.get(self.store, id=lease, now=self._clock.wall()))
        if found is None:
            raise unknown()
        return found

    def _released(self, admin: Principal, several: Sequence[str], reason: str) -> list[Activated]:
        who, now = actor(admin), self._clock.wall()
        with self.store.change(LEASES) as change:
            servers.contained(change, several)
            return [leases.release(change, id=id, actor=who, reason=reason, now=now) for id in several]

    def _given(self, wanted: Sequence[Wanted], admin: Principal) -> list[Activated]:
        """In one transaction: all of them or none."""
        with self.store.change(LEASES) as change:
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
                origin=wanted.origin or self._origin,
                now=self._clock.wall(),
                idempotency_key=wanted.key,
                incident=wanted.incident,
                for_good=wanted.for_good,
            )
        )

    async def look(self) -> None:
        """Tell every worker to look at the store."""
        await self._look()

    async def enforced(self, changes: Sequence[Activated]) -> Outcome:
        """3 and 4. The changes are in the store."""
        end = self._clock.monotonic() + PATIENCE
        await self._look()
        while True:
            outcome = await asyncio.to_thread(self._seen, changes)
            nobody = outcome.receipt.total == 0 and self._origin == "cli"  # else this worker is one
            if outcome.status == 200 or nobody or self._clock.monotonic() >= end:
                return outcome
            await asyncio.sleep(STEP)

    def standing(self, lease: Lease | None) -> Outcome:
        """How a lease stands that was given before; None: that nothing is held. A worker that lags behind the
        store counts nobody who does not know the lease."""
        known = leases.load(self.store, now=self._clock.wall()).epoch
        epoch = max(known, 0 if lease is None else lease.epoch)
        return Outcome(
            leases=() if lease is None else (lease,),
            epoch=epoch,
            receipt=replicas.receipt(self.store, epoch=epoch, now=self._clock.wall()),
            audit_seq=None if lease is None else leases.recorded(self.store, id=lease.id, epoch=lease.epoch),
        )

    def _seen(self, changes: Sequence[Activated]) -> Outcome:
        last = max(changes, key=lambda change: change.epoch)
        return Outcome(
            leases=tuple(change.lease for change in changes),
            epoch=last.epoch,
            receipt=replicas.receipt(self.store, epoch=last.epoch, now=self._clock.wall()),
            audit_seq=leases.recorded(self.store, id=last.lease.id, epoch=last.epoch),
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


class Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is taken back."""

    reason: str = ""


def why(request: HttpRequest) -> str:
    """The reason that the body of a DELETE gives: `{"reason": ...}`, or no body at all."""
    return optional(request, Why).reason or NO_REASON
