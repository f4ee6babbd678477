"""`/admin/overrides`: keys of the configuration, held at another value for a while.

An override is a lease like any other, addressed by the key that it holds.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from airlock.api import lease_shown, leasing
from airlock.api.entries import Entry, document, invalid
from airlock.api.leasing import NO_REASON, Leasing, Wanted, Why, fit
from airlock.audit import crowding
from airlock.core import fragment
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import ConfigError, Rejected
from airlock.core.fragment import Asked
from airlock.core.units import Rate
from airlock.mcp import strict
from airlock.model import fields, overrides
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.lease import RATES, Lease, rate_of
from airlock.model.overrides import KEYS, Order
from airlock.model.principal import Principal


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /admin/overrides` takes. `value` as a configuration file has it; without `ttl` it lasts as
    long as is usual for the key."""

    key: str
    value: str
    ttl: str = ""
    reason: str = ""
    incident: str = ""
    dry_run: bool = False


class OverridesApi:
    """Overrides, for administrators."""

    def __init__(
        self,
        *,
        leasing: Leasing,
        base: Callable[[], Config],
        overlay: Callable[[], dict[str, Any] | None],
        clock: Clock,
    ) -> None:
        """`base` gives the configuration without leases, `overlay` how the overlay stands."""
        self._leasing = leasing
        self.base = base
        self._overlay = overlay
        self._clock = clock

    async def set(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Hold one key, or say what that would do."""
        asked = document(request, Setting)
        order = self._order(_read(asked.key, asked.value))
        self._leasing.harmless(request, order.selector)
        ttl = leasing.seconds(asked.ttl)
        before, after = await self._before_and_after(order)
        told: dict[str, object] = {"key": order.key, "before": before, "after": after}
        if asked.dry_run:
            return json_response(200, {**told, "dry_run": True, "hit": await self._hit(order)})
        wanted = Wanted(
            action=order.action,
            selector=order.selector,
            ttl=order.lasts if ttl is None else ttl,
            reason=asked.reason or NO_REASON,
            incident=leasing.incident(asked.incident),
            key=request.header("idempotency-key") or "",
        )
        outcome = await self._leasing.give(request, admin, [wanted])
        (lease,) = outcome.leases
        shown = lease_shown.shown(lease, self._clock.wall())
        return json_response(outcome.status, {**told, "lease_id": lease.id, "lease": shown, **outcome.told})

    async def list(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Every key that can be held: its value in the configuration, the one in force, and its leases."""
        now, base = self._clock.wall(), self.base()
        held = await self._leasing.listing(include_ended=False)
        values = overrides.in_force(base, held, now)
        settings = [
            {
                "key": key,
                "base": _written(fragment.value_of(base, key)),
                "effective": _written(values.get(key, fragment.value_of(base, key))),
                "leases": [lease_shown.shown(lease, now) for lease in overrides.held(key, held, now)],
            }
            for key in KEYS
        ]
        return json_response(200, {"settings": settings, "overlay": self._overlay()})

    async def remove(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Release the leases that hold one key and nothing else."""
        key = fragment.canonical(request.params["key"])
        now = self._clock.wall()
        found = await self._leasing.listing(include_ended=False)
        held = overrides.held(key, found, now) if key in KEYS else ()
        alone = [lease.id for lease in held if _holds_alone(lease)]
        if not alone:
            text = "No lease holds this key, or it holds others as well: release it by its id."
            raise Rejected(404, strict.INVALID_REQUEST, "lease_unknown", text)
        outcome = await self._leasing.take_back_all(admin, alone, leasing.why(request))
        shown = [lease_shown.shown(lease, now) for lease in outcome.leases]
        return json_response(outcome.status, {"key": key, "leases": shown, **outcome.told})

    def _order(self, asked: Asked) -> Order:
        base = self.base()
        closely = base.monitoring.duration if asked.key == "monitoring.enhanced" else None
        order = fit(lambda: overrides.order(asked, base, lasts=closely))
        if order is None:
            raise invalid("no_change", f"{asked.key} is so in the configuration.")
        return order

    async def _before_and_after(self, order: Order) -> tuple[object, object]:
        """What is in force, and what would be with this."""
        now, base = self._clock.wall(), self.base()
        held = await self._leasing.listing(include_ended=False)
        now_in_force = overrides.over(base, overrides.in_force(base, held, now))
        wanted = fields.read(order.field, getattr(order.selector, order.field))
        after = overrides.joined(order.key, now_in_force, wanted)
        return _written(fragment.value_of(now_in_force, order.key)), _written(after)

    async def _hit(self, order: Order) -> object:
        """Whom a rate would have hit in the last hour; null for what is no rate, or without a log."""
        rate = rate_of(order.selector, order.field) if order.field in RATES else None
        if rate is None:
            return None
        path, now = Path(self.base().data_dir) / "audit.db", self._clock.wall()
        try:
            return await asyncio.to_thread(lambda: crowding.hit(path, kind=order.field, rate=rate, now=now))
        except sqlite3.Error:
            return None


def entries(api: OverridesApi) -> tuple[Entry, ...]:
    """The addresses of overrides."""
    return (
        Entry(
            method="POST",
            path="/admin/overrides",
            permission="leases.write",
            summary="Hold a key of the configuration, or say what that would do.",
            handler=api.set,
            takes=Setting,
            statuses=(200, 207),
            keys="handler",
        ),
        Entry(
            method="GET",
            path="/admin/overrides",
            permission="gateway.read",
            summary="List keys that can be held, and what holds them.",
            handler=api.list,
        ),
        Entry(
            method="DELETE",
            path="/admin/overrides/{key}",
            permission="leases.write",
            summary="Release the leases that hold a key and nothing else.",
            handler=api.remove,
            takes=Why,
            optional=True,
            statuses=(200, 207),
        ),
    )


def _read(key: str, value: str) -> Asked:
    """Raises `Rejected` 422 `override_invalid`."""
    try:
        (asked,) = fragment.single(key, value).asked
    except ConfigError as wrong:
        hint = f" ({wrong.hint})" if wrong.hint else ""
        raise invalid("override_invalid", f"{wrong.what}{hint}.") from wrong
    return asked


def _written(value: object) -> object:
    """A value as a configuration file has it."""
    return fields.show(value) if isinstance(value, float | Rate) else value


def _holds_alone(lease: Lease) -> bool:
    every: Iterable[str] = (key.field for key in KEYS.values())
    return sum(bool(getattr(lease.selector, field)) for field in every) == 1
