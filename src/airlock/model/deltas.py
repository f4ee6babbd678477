"""Which settings each lease tightens, by its action. Pure; `airlock.model.lattice` joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airlock.model import fields
from airlock.model.lattice import RISKS, Settings
from airlock.model.lease import ANY, RATES, SCOPE, Action, Selector, rate_of

Scope = tuple[str, ...]
"""Tenant, issuer, subject, server, tool and risk of what a lease is about; `*` for any."""

Delta = Callable[[Selector], Settings]


def delta(action: Action, selector: Selector) -> Settings:
    """The settings that a lease tightens."""
    return _DELTAS[action](selector)


def scopes(selector: Selector) -> frozenset[Scope]:
    """What a lease is about. A risk stands for itself and every greater one."""
    named: list[str] = [getattr(selector, field) or ANY for field in SCOPE]
    if not selector.risk:
        return frozenset((tuple(named),))
    greater = RISKS[RISKS.index(selector.risk) :]
    return frozenset((*named[:-1], risk) for risk in greater)


def _rates(selector: Selector) -> Settings:
    found = {f"rate.{kind}": rate_of(selector, kind) for kind in RATES}
    return {setting: rate for setting, rate in found.items() if rate is not None}


def _logging(selector: Selector) -> Settings:
    found: dict[str, object] = {"log.level": selector.level} if selector.level else {}
    return found | ({"audit_all_requests": True} if selector.audit_all_requests else {})


def _none(selector: Selector) -> Settings:
    """Capacity is no protection: nothing is tightened."""
    return {}


def _off(selector: Selector) -> Settings:
    return {"server.status": "inactive", "server.cut": "cut"}


def _step_up(selector: Selector) -> Settings:
    age = fields.read("max_age", selector.max_age or fields.FRESH)
    return {"stepup.selectors": scopes(selector), "stepup.max_age": age}


def _outward(selector: Selector) -> Settings:
    return _values(
        selector,
        {"max_bytes": "egress.max_bytes", "result_bytes": "result.max_bytes", "allow": "egress.allow"},
    )


def _redaction(selector: Selector) -> Settings:
    return _values(selector, {"patterns": "redaction.patterns", "mode": "redaction.mode"})


def _values(selector: Selector, settings: Mapping[str, str]) -> Settings:
    """The settings of those fields that the selector has."""
    found: dict[str, Any] = {}
    for field, setting in settings.items():
        text: str = getattr(selector, field)
        if text:
            value: Any = fields.read(field, text)
            found[setting] = frozenset(value) if field in ("allow", "patterns") else value
    return found


def _on(setting: str) -> Delta:
    return lambda selector: {setting: True}


def _one(setting: str, *fields: str) -> Delta:
    """A set with one member: the named fields of the selector, empty ones as `*`."""

    def made(selector: Selector) -> Settings:
        values: list[str] = [getattr(selector, field) or ANY for field in fields]
        return {setting: frozenset((tuple(values) if len(values) > 1 else values[0],))}

    return made


_DELTAS: Mapping[Action, Delta] = {
    "ip.block": _one("block.ips", "cidr"),
    "subject.suspend": _one("suspend.subjects", "tenant", "issuer", "subject"),
    "token.revoke": _one("revoke.tokens", "token"),
    "session.terminate": _one("terminate.sessions", "session"),
    "tool.quarantine": _one("quarantine.tools", "server", "tool", "digest"),
    "server.disable": _off,
    "tenant.isolate": _one("isolate.tenants", "tenant"),
    "ratelimit.tighten": _rates,
    "stepup.require": _step_up,
    "egress.restrict": _outward,
    "redaction.strengthen": _redaction,
    "policy.deny_overlay": lambda selector: {"deny.overlay": scopes(selector)},
    "policy.freeze": _on("policy.frozen"),
    "admin.freeze": _on("admin.frozen"),
    "logging.enhance": _logging,
    "monitoring.enhance": _on("monitoring.enhanced"),
    "cache.tune": _none,
    "limits.tune": _none,
}
