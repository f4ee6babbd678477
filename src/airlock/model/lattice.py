"""Settings that containment may tighten, and how two values of one setting become one.

`effective(scope) = base joined with every active lease`. Each join is commutative, associative and
idempotent, and never looser than what goes in, so leases can come in any order and any number of times, and
what remains after one of them went is the join of the rest. A property test checks that for every setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airlock.core.units import Rate

Settings = Mapping[str, Any]
"""Value by setting. A setting that is not there says nothing: it is the loosest."""

Join = Callable[[Any, Any], Any]

RISKS = ("low", "medium", "high", "critical")
"""Risk classes of tools: the sensitivity that an operator gave them."""

MODES = ("mask", "drop", "block")
"""What becomes of a result in which something is found: it loses that, or everything, or is refused."""


def _rate(one: Rate, other: Rate) -> Rate:
    return min(one, other, key=lambda rate: rate.strictness)


def _union(one: frozenset[Any], other: frozenset[Any]) -> frozenset[Any]:
    return one | other


def _intersection(one: frozenset[Any], other: frozenset[Any]) -> frozenset[Any]:
    return one & other


def _tighter(*words: str) -> Join:
    """The join of a scale that goes from the loosest word to the tightest."""
    rank = {word: position for position, word in enumerate(words)}
    return lambda one, other: max(one, other, key=rank.__getitem__)


def _by_risk(one: Mapping[str, str], other: Mapping[str, str]) -> Mapping[str, str]:
    """`closed` wins in every risk class; a class that is not named is as the other says."""
    closed = _tighter("open", "closed")
    return {
        risk: closed(one.get(risk, "open"), other.get(risk, "open"))
        for risk in RISKS
        if risk in one or risk in other
    }


LATTICE: Mapping[str, Join] = {
    "rate.per_token": _rate,
    "rate.per_ip": _rate,
    "rate.per_tenant": _rate,
    "rate.global": _rate,
    "burst": min,
    "block.ips": _union,
    "suspend.subjects": _union,
    "terminate.sessions": _union,
    "revoke.tokens": _union,
    "isolate.tenants": _union,
    "server.status": _tighter("active", "inactive"),
    "server.cut": _tighter("drain", "cut"),
    "quarantine.tools": _union,
    "deny.overlay": _union,
    "stepup.selectors": _union,
    "stepup.max_age": min,
    "approvals.required": max,
    "egress.allow": _intersection,
    "egress.max_bytes": min,
    "result.max_bytes": min,
    "token.max_age": min,
    "session.max_age": min,
    "decision_cache.max_age": min,
    "redaction.patterns": _union,
    "redaction.mode": _tighter(*MODES),
    "fail_mode": _by_risk,
    "policy.frozen": max,
    "admin.frozen": max,
    "audit_all_requests": max,
    "monitoring.enhanced": max,
    "log.level": _tighter("error", "warn", "info", "debug"),
}
"""Every setting that a lease may hold. Of two booleans, the one that is true is the larger."""


def join(one: Settings, other: Settings) -> Settings:
    """What holds when both hold."""
    joined = dict(one)
    for setting, value in other.items():
        joined[setting] = LATTICE[setting](joined[setting], value) if setting in joined else value
    return joined


def join_all(every: Iterable[Settings]) -> Settings:
    """What holds when all of them hold; nothing where there is none."""
    joined: Settings = {}
    for settings in every:
        joined = join(joined, settings)
    return joined
