"""Questions to the types of the configuration: units, optional values, keys, what would be right in words.

The words serve the messages of a refusal and the generated documentation alike.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec.inspect as mi
from msgspec import structs

from airlock.core import units
from airlock.core.clock import rfc3339

ALIASES = {
    "server.maxConnections": "server.max_connections",
    "server.maxClients": "server.max_clients",
    "logging.auditAllRequests": "logging.audit_all_requests",
    "policy.cacheTTL": "policy.cache_ttl",
    "policy.cacheSize": "policy.cache_size",
    "rateLimiting": "rate_limiting",
    "rate_limiting.perToken": "rate_limiting.per_token",
    "rate_limiting.perIp": "rate_limiting.per_ip",
    "rate_limiting.perTenant": "rate_limiting.per_tenant",
}
"""Spellings of existing runbooks: read like the canonical key, never shown."""

_NUMBERS = {
    "duration": "a duration such as 30s, 5m, 1h or 30d",
    "size": "a size such as 64KiB or 8MiB",
    "moment": "a moment in UTC such as 2026-11-28T00:00:00Z",
}


def bare(annotated: mi.Type) -> tuple[mi.Type, str]:
    """A type without its annotations and without `| None`, and its unit (or "")."""
    unit = ""
    kind = annotated
    while isinstance(kind, mi.Metadata | mi.UnionType):
        if isinstance(kind, mi.Metadata):
            extra: dict[str, str] | None = structs.asdict(kind)["extra"]
            unit = (extra or {}).get("unit", unit)
            kind = kind.type
        else:
            kind = next(part for part in kind.types if not isinstance(part, mi.NoneType))
    return kind, unit


def optional(annotated: mi.Type) -> bool:
    """Whether null is a value."""
    kind = annotated.type if isinstance(annotated, mi.Metadata) else annotated
    return isinstance(kind, mi.UnionType)


def keys(kind: mi.StructType, prefix: str = "") -> dict[str, mi.Field]:
    """Every dotted key that is not a section, in the order of the schema."""
    found: dict[str, mi.Field] = {}
    for field in kind.fields:
        inner, _ = bare(field.type)
        if isinstance(inner, mi.StructType):
            found |= keys(inner, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = field
    return found


def describe(annotated: mi.Type) -> str:
    """What would be right, such as `a whole number, at least 1, at most 64`."""
    kind, unit = bare(annotated)
    return _words(kind, unit) + (" or null" if optional(annotated) else "")


def _words(kind: mi.Type, unit: str) -> str:
    match kind:
        case mi.VarTupleType(item_type=item):
            return f"a list, each item {describe(item)}"
        case mi.DictType(value_type=value):
            return f"a mapping of names, each to {describe(value)}"
        case mi.StructType(fields=fields):
            return "a mapping with keys of " + ", ".join(field.name for field in fields)
        case mi.IntType() | mi.FloatType():
            return _NUMBERS.get(unit, "a whole number") + _range(kind, unit)
        case _:
            return "a rate such as 10/s, 200/min, 1000/h or 5/d" if unit == "rate" else _plain(kind)


def _plain(kind: mi.Type) -> str:
    match kind:
        case mi.StrType(pattern=str(pattern)):
            return f"text that matches `{pattern}`"
        case mi.BoolType():
            return "true or false"
        case mi.LiteralType(values=values):
            return "one of " + ", ".join(map(str, values))
        case _:
            return "text"


def _range(kind: mi.IntType | mi.FloatType, unit: str) -> str:
    bounds = ((kind.ge, "at least"), (kind.gt, "more than"), (kind.le, "at most"))
    return "".join(f", {words} {shown(bound, unit)}" for bound, words in bounds if bound is not None)


def shown(value: float, unit: str) -> str:
    """A number in the spelling of its unit."""
    spell: dict[str, Callable[[float], str]] = {
        "duration": units.show_duration,
        "size": lambda count: units.show_size(int(count)),
        "moment": rfc3339,
    }
    return spell.get(unit, str)(value)
