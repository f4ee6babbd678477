"""Keys of the configuration that leases hold for a while: what they may become, and what is in force.

Protection only gets stricter: of the configuration and all leases the strictest counts, so that no later
wish undoes an earlier one. Capacity has no stricter: one lease at a time holds such a key, within bounds.
A lease for one tenant or subject is no value of the configuration and is left to the limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import msgspec
from msgspec import structs

from airlock.core import units
from airlock.core.config import Config
from airlock.core.fragment import Asked, value_of
from airlock.core.units import Rate
from airlock.model import fields
from airlock.model.lattice import LATTICE
from airlock.model.lease import HOUR, Action, Lease, Selector, Unfit, read_selector


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key: the lease that holds it, the field of its selector, and the setting whose join counts."""

    action: Action
    field: str
    setting: str = ""
    """Empty for capacity, which has no join."""
    lasts: float
    """Seconds, where nothing else is said."""


KEYS: Mapping[str, Key] = {
    "rate_limiting.per_token": Key(
        action="ratelimit.tighten", field="per_token", setting="rate.per_token", lasts=4 * HOUR
    ),
    "rate_limiting.per_ip": Key(
        action="ratelimit.tighten", field="per_ip", setting="rate.per_ip", lasts=4 * HOUR
    ),
    "rate_limiting.per_tenant": Key(
        action="ratelimit.tighten", field="per_tenant", setting="rate.per_tenant", lasts=4 * HOUR
    ),
    "logging.level": Key(action="logging.enhance", field="level", setting="log.level", lasts=2 * HOUR),
    "logging.audit_all_requests": Key(
        action="logging.enhance", field="audit_all_requests", setting="audit_all_requests", lasts=2 * HOUR
    ),
    "monitoring.enhanced": Key(
        action="monitoring.enhance", field="enhanced", setting="monitoring.enhanced", lasts=24 * HOUR
    ),
    "policy.cache_ttl": Key(action="cache.tune", field="cache_ttl", lasts=24 * HOUR),
    "policy.cache_size": Key(action="cache.tune", field="cache_size", lasts=24 * HOUR),
    "server.max_connections": Key(action="limits.tune", field="max_connections", lasts=24 * HOUR),
    "server.max_clients": Key(action="limits.tune", field="max_clients", lasts=24 * HOUR),
}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that carries out what was asked of one key. `lasts` in seconds."""

    key: str
    action: Action
    field: str
    selector: Selector
    lasts: float


def order(asked: Asked, config: Config, *, lasts: float | None = None) -> Order | None:
    """The lease for what was asked; None where the configuration says the same of a protection already.

    Raises `Unfit`: `would_loosen` for less protection than the configuration gives, `selector_invalid` for
    a value out of bounds.
    """
    key = KEYS[asked.key]
    base, wanted = _value(value_of(config, asked.key)), _value(asked.value)
    if key.setting:
        if wanted == base:
            return None
        if wanted is None or _joined(key, base, wanted) != wanted:
            said = f"{asked.key}={_shown(wanted)} protects less than {_shown(base)}"
            raise Unfit("would_loosen", f"{said}, as the configuration has it: change it there.")
    if wanted is None:
        raise Unfit("selector_invalid", f"{asked.key} needs a number.")
    return Order(
        key=asked.key,
        action=key.action,
        field=key.field,
        selector=read_selector(key.action, {key.field: fields.show(wanted)}),
        lasts=key.lasts if lasts is None else lasts,
    )


def held(name: str, leases: Iterable[Lease], now: float) -> tuple[Lease, ...]:
    """The leases in force that hold a key for everybody, the oldest first."""
    key = KEYS[name]
    return tuple(
        lease
        for lease in leases
        if lease.action == key.action
        and not (lease.selector.tenant or lease.selector.subject)
        and getattr(lease.selector, key.field)
        and lease.holds(now)
    )


def in_force(config: Config, leases: Iterable[Lease], now: float) -> dict[str, object]:
    """The values of the keys that leases change, as the configuration would have them."""
    found: dict[str, object] = {}
    several = tuple(leases)
    for name, key in KEYS.items():
        base = value = _value(value_of(config, name))
        for lease in held(name, several, now):
            wanted = fields.read(key.field, getattr(lease.selector, key.field))
            value = _joined(key, value, wanted) if key.setting else wanted
        if value != base:
            found[name] = units.show_rate(value) if isinstance(value, Rate) else value
    return found


def joined(name: str, config: Config, wanted: object) -> object:
    """The value of a key where this is wanted as well."""
    key = KEYS[name]
    return _joined(key, _value(value_of(config, name)), wanted) if key.setting else wanted


def over(config: Config, values: Mapping[str, object]) -> Config:
    """The configuration with these values in place of its own."""
    sections: dict[str, msgspec.Struct] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        before = sections.get(section) or cast("msgspec.Struct", getattr(config, section))
        sections[section] = structs.replace(before, **{name: value})
    return structs.replace(config, **sections) if sections else config


def _joined(key: Key, base: object, wanted: object) -> object:
    return wanted if base is None else LATTICE[key.setting](base, wanted)


def _value(value: object) -> object:
    """A value of the configuration as leases have it: rates are text there."""
    if isinstance(value, str) and value not in fields.LEVELS:
        return units.rate(value)
    return value


def _shown(value: object) -> str:
    return "null" if value is None else fields.show(value)
