"""Containment leases: what may be contained, and for how long; `airlock.model.deltas` has what it tightens.

A lease is active until it is released or its time is over; the clock is asked on each read, so nobody has to
be awake for a lease to end. Pure: whoever activates one is in `airlock.store.leases`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from airlock.core import units
from airlock.core.units import Rate
from airlock.model import fields
from airlock.model.network import normalised

HOUR = 3600.0
WEEK = 7 * 24 * HOUR
ANY = "*"
"""In the place of a name: whichever."""

Action = Literal[
    "ip.block",
    "subject.suspend",
    "token.revoke",
    "session.terminate",
    "tool.quarantine",
    "server.disable",
    "tenant.isolate",
    "ratelimit.tighten",
    "stepup.require",
    "egress.restrict",
    "redaction.strengthen",
    "policy.deny_overlay",
    "policy.freeze",
    "admin.freeze",
    "logging.enhance",
    "monitoring.enhance",
    "cache.tune",
    "limits.tune",
]
State = Literal["active", "released", "expired"]
Origin = Literal["api", "cli", "registry", "config", "system", "detector", "playbook"]

LONGEST_TEXT = 512
"""Characters of a name in a selector, and of a reason: longer ones are a mistake."""


class Unfit(ValueError):
    """A lease that cannot be given. `reason` is one of the words of `docs/errors.md`; the text says what is
    wrong and what would be right, and is safe for the caller."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class Selector(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Whom or what a lease is about. Which fields an action takes stands in `RULES`; the others are empty."""

    cidr: str = ""
    """An address or network, normalised: `203.0.113.7/32`."""
    tenant: str = ""
    issuer: str = ""
    subject: str = ""
    token: str = ""
    """The `jti`, as in `token_id` of an audit row."""
    session: str = ""
    """SHA-256 of the session's id, hex, as in `session_digest` of an audit row."""
    server: str = ""
    tool: str = ""
    """The server's own name for it."""
    digest: str = ""
    """Of the definition; empty: whatever it is."""
    risk: str = ""
    """Sensitivity of a tool: this one or a greater."""
    max_age: str = ""
    """How old a login may be."""
    max_bytes: str = ""
    result_bytes: str = ""
    """Bytes of the arguments, and of the result, of one call."""
    allow: str = ""
    """Servers that arguments may still be sent to, with commas."""
    patterns: str = ""
    """Detectors, with commas."""
    mode: str = ""
    """What becomes of a result in which something is found: `mask`, `drop` or `block`."""
    per_token: str = ""
    per_ip: str = ""
    per_tenant: str = ""
    """Rates such as `10/min`."""
    level: str = ""
    audit_all_requests: str = ""
    enhanced: str = ""
    cache_ttl: str = ""
    cache_size: str = ""
    max_connections: str = ""
    max_clients: str = ""
    """Values of configuration keys; what each may be stands in `airlock.model.fields`."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What an action takes. `longest` None: irreversible, a lease without end."""

    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    some: tuple[str, ...] = ()
    """Of which it needs one or more."""
    sets: tuple[str, ...] = ()
    """Values of the configuration of which it needs one or more."""

    @property
    def overrides(self) -> bool:
        """Whether it sets values of the configuration."""
        return bool(self.sets) or "enhanced" in self.needs

    alone: bool = False
    """Two values have no join: who sets one holds it, and nobody else can until then."""
    usual: float = HOUR
    longest: float | None = 24 * HOUR


RATES = ("per_token", "per_ip", "per_tenant")
SCOPE = ("tenant", "issuer", "subject", "server", "tool", "risk")
"""Fields that say whose calls of which tools are meant; an empty one: whichever."""

RULES: Mapping[Action, Rule] = {
    "ip.block": Rule(needs=("cidr",)),
    "subject.suspend": Rule(needs=("subject",), takes=("tenant", "issuer")),
    "token.revoke": Rule(needs=("token",), longest=None),
    "session.terminate": Rule(needs=("session",), longest=None),
    "tool.quarantine": Rule(needs=("server", "tool"), takes=("digest",), longest=72 * HOUR),
    "server.disable": Rule(needs=("server",), usual=4 * HOUR, longest=72 * HOUR),
    "tenant.isolate": Rule(needs=("tenant",)),
    "ratelimit.tighten": Rule(sets=RATES, takes=("tenant", "issuer", "subject")),
    "stepup.require": Rule(some=SCOPE, takes=("max_age",), usual=4 * HOUR, longest=WEEK),
    "egress.restrict": Rule(some=("max_bytes", "result_bytes", "allow"), takes=SCOPE),
    "redaction.strengthen": Rule(
        some=("patterns", "mode"), takes=SCOPE, usual=24 * HOUR, longest=30 * 24 * HOUR
    ),
    "policy.deny_overlay": Rule(some=SCOPE, usual=4 * HOUR, longest=WEEK),
    "policy.freeze": Rule(usual=4 * HOUR, longest=WEEK),
    "admin.freeze": Rule(usual=4 * HOUR, longest=WEEK),
    "logging.enhance": Rule(sets=("level", "audit_all_requests"), usual=2 * HOUR, longest=8 * HOUR),
    "monitoring.enhance": Rule(needs=("enhanced",), usual=24 * HOUR, longest=72 * HOUR),
    "cache.tune": Rule(sets=("cache_ttl", "cache_size"), alone=True, usual=4 * HOUR),
    "limits.tune": Rule(sets=("max_connections", "max_clients"), alone=True, usual=4 * HOUR),
}


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One lease. Times are Unix seconds."""

    id: str
    action: Action
    selector: Selector
    state: State
    reason: str
    actor: str
    """Who asked for it, as `issuer|subject`, or the account of the machine that ran the command."""
    origin: Origin
    incident: str = ""
    created_at: float
    expires_at: float | None
    """None: it has no end."""
    max_until: float | None
    """How far it may be extended."""
    epoch: int
    """The state of the store in which it began to hold."""
    ended_at: float | None = None
    ended_by: str = ""
    end_reason: str = ""

    def holds(self, now: float) -> bool:
        """Whether it is in force at this time."""
        return self.state == "active" and (self.expires_at is None or now < self.expires_at)


def read_action(word: str) -> Action:
    """The action that a person named. Raises `Unfit` `action_unknown`."""
    for action in RULES:
        if action == word:
            return action
    raise Unfit("action_unknown", f"There is no action {word[:64]!r}: one of {', '.join(RULES)}.")


def read_selector(action: Action, pairs: Mapping[str, str]) -> Selector:
    """The selector of `KEY=VALUE` pairs, checked and normalised.

    Raises `Unfit` `selector_invalid`, or `invalid_ip` for what is no address or network.
    """
    rule = RULES[action]
    known = (*rule.needs, *rule.some, *rule.sets, *rule.takes)
    for key, value in pairs.items():
        if key not in known:
            raise _invalid(f"{action} takes {', '.join(known) or 'no selector'}, not {key[:64]!r}")
        if not value or len(value) > LONGEST_TEXT or not value.isprintable():
            raise _invalid(f"{key} needs 1 to {LONGEST_TEXT} printable characters")
    for key in rule.needs:
        if key not in pairs:
            raise _invalid(f"{action} needs {' and '.join(rule.needs)}")
    return Selector(**{key: _normal(key, value) for key, value in _complete(action, pairs).items()})


def read_ttl(action: Action, ttl: float | None) -> float | None:
    """The seconds that a lease lasts; None for the usual ones of the action, or for ever.

    Raises `Unfit` `duration_too_long` or `duration_invalid`.
    """
    rule = RULES[action]
    if rule.longest is None:
        if ttl is not None:
            raise Unfit("duration_invalid", f"{action} is for good: it takes no duration.")
        return None
    if ttl is None:
        return rule.usual
    if not ttl >= 1:
        raise Unfit("duration_invalid", "A lease lasts 1 second or more.")
    if ttl > rule.longest:
        longest = units.show_duration(rule.longest)
        raise Unfit("duration_too_long", f"{action} lasts {longest} at most; extend it before it ends.")
    return ttl


def rate_of(selector: Selector, kind: str) -> Rate | None:
    """The rate of one kind (`per_token`, ...) that a `ratelimit.tighten` sets; None where it sets none."""
    text: str = getattr(selector, kind)
    return units.rate(text) if text else None


def _complete(action: Action, pairs: Mapping[str, str]) -> Mapping[str, str]:
    """Raises where each value is fine and the whole is not."""
    some = RULES[action].some or RULES[action].sets
    if some and not any(key in pairs for key in some):
        raise _invalid(f"{action} needs one of {', '.join(some)}")
    if action == "ratelimit.tighten":
        _check_rates(pairs)
    return pairs


def _check_rates(pairs: Mapping[str, str]) -> None:
    if "tenant" in pairs and "per_ip" in pairs:
        raise _invalid("per_ip is counted before the tenant is known: leave tenant out")
    if "subject" in pairs and ("per_ip" in pairs or "per_tenant" in pairs):
        raise _invalid("per_ip and per_tenant count more than one subject: leave subject out, or them")
    if "issuer" in pairs and "subject" not in pairs:
        raise _invalid("issuer says whose subject is meant: name subject too")


def _normal(key: str, value: str) -> str:
    if key == "cidr":
        try:
            return normalised(value)
        except ValueError as wrong:
            raise Unfit("invalid_ip", f"{value[:64]!r}: {wrong}.") from wrong
    if fields.known(key):
        try:
            return fields.show(fields.read(key, value))
        except ValueError as wrong:
            raise _invalid(f"{key}={value[:64]!r}: {wrong}") from wrong
    if value == ANY:
        if key == "digest":
            return ""
        raise _invalid(f"{key} needs one name; what may be anything is left out")
    if key in ("session", "digest") and not _is_digest(value):
        raise _invalid(f"{key} is a SHA-256 in 64 lower-case hex digits, as audit rows have it")
    return value


def _is_digest(value: str) -> bool:
    return len(value) == 64 and all(digit in "0123456789abcdef" for digit in value)


def _invalid(what: str) -> Unfit:
    return Unfit("selector_invalid", f"{what[0].upper()}{what[1:]}.")
