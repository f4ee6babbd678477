"""What leases together demand of one scope, and which of them decide that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from airlock.core.units import Rate
from airlock.model import fields
from airlock.model.deltas import delta
from airlock.model.lattice import LATTICE, RISKS, join_all
from airlock.model.lease import Lease, Unfit
from airlock.model.network import address, network

NAMES = ("ip", "tenant", "issuer", "subject", "token", "session", "server", "tool", "digest", "risk")
"""What a scope may name."""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it is in force."""

    setting: str
    value: Any
    """As JSON has it: a set is a list, a rate is a text."""
    decided_by: tuple[str, ...]
    """Ids of leases without which it would be looser, or that say the same by themselves."""


def read_scope(text: str) -> dict[str, str]:
    """The scope of `tenant=acme,subject=bob`. Raises `Unfit` `scope_invalid`."""
    scope: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals or not value or name not in NAMES or name in scope:
            text = f"A scope is NAME=VALUE with commas, each name once: {', '.join(NAMES)}."
            raise Unfit("scope_invalid", text)
        scope[name] = value
    if "risk" in scope and scope["risk"] not in RISKS:
        raise Unfit("scope_invalid", f"risk is one of {', '.join(RISKS)}.")
    if "ip" in scope:
        try:
            address(scope["ip"])
        except ValueError as wrong:
            raise Unfit("scope_invalid", f"ip is {wrong}.") from wrong
    return scope


def explain(leases: Iterable[Lease], scope: Mapping[str, str], now: float) -> list[Decided]:
    """Every setting that a lease tightens for this scope, by name."""
    held = [(lease, delta(lease.action, lease.selector)) for lease in leases if lease.holds(now)]
    held = [(lease, settings) for lease, settings in held if about(lease, scope)]
    together = join_all(settings for _, settings in held)
    found: list[Decided] = []
    for setting in sorted(together):
        whole = together[setting]
        said = {lease.id: settings[setting] for lease, settings in held if setting in settings}
        deciding = tuple(id for id, value in said.items() if value == whole or _missed(setting, id, said))
        found.append(Decided(setting=setting, value=_plain(whole), decided_by=deciding or tuple(said)))
    return found


def about(lease: Lease, scope: Mapping[str, str]) -> bool:
    """Whether a lease is about this scope: everything that it names is what the scope names."""
    selector = lease.selector
    if selector.cidr and not _holds(selector.cidr, scope.get("ip", "")):
        return False
    if selector.risk and RISKS.index(scope.get("risk", RISKS[0])) < RISKS.index(selector.risk):
        return False
    named = ("tenant", "issuer", "subject", "token", "session", "server", "tool", "digest")
    return all(getattr(selector, name) in ("", scope.get(name)) for name in named)


def _holds(cidr: str, ip: str) -> bool:
    if not ip:
        return False
    found, blocked = address(ip), network(cidr)
    return found.version == blocked.version and found in blocked


def _missed(setting: str, id: str, said: Mapping[str, Any]) -> bool:
    """Whether the others together demand less than all."""
    rest = join_all({setting: value} for other, value in said.items() if other != id)
    return setting not in rest or LATTICE[setting](rest[setting], said[id]) != rest[setting]


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(cast("frozenset[object]", value), key=str)
    return fields.show(value) if isinstance(value, Rate) else value
