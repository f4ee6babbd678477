"""The part `leases` of a snapshot: what is contained, ready to be asked on every call.

With no lease there is no index, and a check is one attribute test. With an index a check is a handful of
dictionary lookups, however many leases there are; networks are looked up once per prefix length in use.
Where several leases hold the same, the one that ends last answers. A lease that is over says nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airlock.core.units import Rate
from airlock.model.deltas import delta, scopes
from airlock.model.lattice import LATTICE
from airlock.model.lease import ANY, RULES, Lease
from airlock.model.network import address, network
from airlock.model.scoped import Scoped, Valued, ends, tighten

if TYPE_CHECKING:
    from airlock.model.principal import Principal
    from airlock.model.server import Item

RateKind = Literal["per_token", "per_ip", "per_tenant"]

Leased = tuple[Rate, Lease]
"""A rate, and the lease that sets it."""

Held = dict[Any, Lease]
"""What is contained, and the lease that contains it longest."""

MAX_ASKED = 4096
"""Addresses whose networks are remembered: each asks more than once for every request."""


class Index:
    """Leases by what they contain. Made by `compiled`, with the same answers for ever; used by one thread."""

    def __init__(self) -> None:
        self.networks: dict[tuple[int, int], Held] = {}
        """By IP version and prefix length; then by the bits of the prefix."""
        self._asked: dict[str, tuple[Lease, ...]] = {}
        self.subjects: Held = {}
        self.tenants: Held = {}
        self.tokens: Held = {}
        self.sessions: Held = {}
        self.servers: Held = {}
        self.tools: Held = {}
        self.rates: dict[tuple[str, str], Valued] = {}
        """By setting and tenant; `*`: for every tenant."""
        self.paces: Scoped | None = None
        """Rates of single subjects."""
        self.scoped: dict[str, Scoped] = {}
        """By setting: what leases set for some calls."""
        self.frozen: Held = {}
        """By setting: what nobody may change."""
        self.settings: list[Lease] = []
        """What sets values of the configuration; see `airlock.model.overrides`."""

    def address(self, ip: str, now: float) -> Lease | None:
        """What blocks this address; None for nothing. What is no address is blocked by nothing."""
        if not self.networks:
            return None
        found = self._asked.get(ip)
        if found is None:
            if len(self._asked) >= MAX_ASKED:
                self._asked.clear()
            found = self._asked[ip] = tuple(self._around(ip))
        for lease in found:
            if lease.holds(now):
                return lease
        return None

    def _around(self, ip: str) -> Iterator[Lease]:
        """The leases of every network around an address."""
        try:
            found = address(ip)
        except ValueError:
            return
        number, bits, version = int(found), found.max_prefixlen, found.version
        for (of, length), held in self.networks.items():
            if of == version:
                lease = held.get(number >> (bits - length))
                if lease is not None:
                    yield lease

    def tenant(self, name: str, now: float) -> Lease | None:
        """What isolates this tenant."""
        return _now(self.tenants, name, now)

    def token(self, token_id: str, now: float) -> Lease | None:
        """What revoked this token."""
        return _now(self.tokens, token_id, now)

    def subject(self, principal: Principal, now: float) -> Lease | None:
        """What suspends this subject, or who acts for it now (RFC 8693 section 4.1; earlier actors count
        for nothing), wherever or in its tenant and at its issuer."""
        if not self.subjects:
            return None
        for name in (principal.subject, *principal.actor[:1]):
            lease = self._suspended(principal.tenant, principal.issuer, name, now)
            if lease is not None:
                return lease
        return None

    def _suspended(self, tenant: str, issuer: str, name: str, now: float) -> Lease | None:
        for key in ((tenant, issuer, name), (tenant, ANY, name), (ANY, issuer, name), (ANY, ANY, name)):
            lease = _now(self.subjects, key, now)
            if lease is not None:
                return lease
        return None

    def session(self, sid: str, now: float) -> Lease | None:
        """What ended this session."""
        if not self.sessions:
            return None
        return _now(self.sessions, hashlib.sha256(sid.encode()).hexdigest(), now)

    def server(self, name: str, now: float) -> Lease | None:
        """What took this server out of service."""
        return _now(self.servers, name, now)

    def tool(self, tool: Item, now: float) -> Lease | None:
        """What holds this tool in quarantine, in any definition or in this one."""
        if not self.tools:
            return None
        server, name = tool.server, tool.name
        whatever = _now(self.tools, (server, name, ANY), now)
        return whatever or _now(self.tools, (server, name, tool.digest), now)

    def until(self, now: float) -> float:
        """When the next lease on a server or a tool ends, in Unix seconds; infinite where none does."""
        held = (*self.servers.values(), *self.tools.values())
        return min((ends(lease) for lease in held if lease.holds(now)), default=math.inf)

    def over(self, setting: str, principal: Principal, tool: Item, now: float) -> Iterator[tuple[Any, Lease]]:
        """What leases set for the calls of this tool by a caller, or by who acts for it now."""
        held = self.scoped.get(setting)
        if held is None:
            return
        for name in (principal.subject, *principal.actor[:1]):
            facts = (principal.tenant, principal.issuer, name, tool.server, tool.name, tool.sensitivity)
            yield from held.over(facts, now)

    def pace(self, principal: Principal, name: str, now: float) -> Leased | None:
        """The tightest rate for this subject in the tenant of a caller, and the lease that sets it."""
        if self.paces is None:
            return None
        facts = (principal.tenant, principal.issuer, name, "", "", "")
        return _tightest("rate.per_token", self.paces.over(facts, now))

    def freeze(self, setting: str, now: float) -> Lease | None:
        """What freezes this: `policy.frozen` or `admin.frozen`."""
        return _now(self.frozen, setting, now)


class Leases(msgspec.Struct, frozen=True, kw_only=True):
    """Active containment leases of one state of the store. Times are Unix seconds."""

    epoch: int = 0
    """Rises with every change of the leases; stands in every row."""
    index: Index | None = None
    """None: nothing is contained."""
    held: tuple[Lease, ...] = ()
    """The leases themselves."""

    def rate(self, kind: RateKind, tenant: str, now: float) -> Leased | None:
        """The tightest rate that leases demand of all callers of this tenant (empty: not known yet), and the
        lease that sets it; None where they demand none. It only ever tightens: take the stricter of it and
        the configured one."""
        if self.index is None or not self.index.rates:
            return None
        rates, setting = self.index.rates, f"rate.{kind}"
        held = (each for scope in (ANY, tenant) for each in rates.get((setting, scope), ()))
        return _tightest(setting, (each for each in held if each[1].holds(now)))

    def paced(self, principal: Principal, now: float) -> list[tuple[str, Leased]]:
        """The names of a caller, and of who acts for it now, of which leases demand a rate; with the
        tightest."""
        if self.index is None or self.index.paces is None:
            return []
        names = (principal.subject, *principal.actor[:1])
        asked = [(name, self.index.pace(principal, name, now)) for name in names]
        return [(name, leased) for name, leased in asked if leased is not None]


def compiled(leases: Iterable[Lease], *, epoch: int) -> Leases:
    """The part of the snapshot for these leases."""
    index, held = Index(), tuple(lease for lease in leases if lease.state == "active")
    for lease in held:
        if RULES[lease.action].overrides:
            index.settings.append(lease)
        for setting, value in delta(lease.action, lease.selector).items():
            _put(index, lease, setting, value)
    return Leases(epoch=epoch, index=index if held else None, held=held)


def _put(index: Index, lease: Lease, setting: str, value: Any) -> None:
    if setting.startswith("rate.") and lease.selector.subject:
        index.paces = index.paces or Scoped(setting)
        for scope in scopes(lease.selector):
            index.paces.put(scope, value, lease)
    elif setting.startswith("rate."):
        held = index.rates.setdefault((setting, lease.selector.tenant or ANY), [])
        tighten(held, value, lease, LATTICE[setting])
    elif setting in _SCOPED:
        scoped = index.scoped.setdefault(setting, Scoped(setting))
        for scope in scopes(lease.selector):
            scoped.put(scope, value, lease)
    elif setting in _SETS:
        for member in value:
            _hold(getattr(index, _SETS[setting]), member, lease)
    else:
        _put_alone(index, lease, setting, value)


def _put_alone(index: Index, lease: Lease, setting: str, value: Any) -> None:
    """What is no set of names and no value for some calls."""
    if setting == "block.ips":
        for text in value:
            blocked = network(text)
            bits = int(blocked.network_address) >> (blocked.max_prefixlen - blocked.prefixlen)
            _hold(index.networks.setdefault((blocked.version, blocked.prefixlen), {}), bits, lease)
    elif setting == "server.status":
        _hold(index.servers, lease.selector.server, lease)
    elif setting in _FROZEN:
        _hold(index.frozen, setting, lease)


_SETS: Mapping[str, str] = {
    "suspend.subjects": "subjects",
    "isolate.tenants": "tenants",
    "revoke.tokens": "tokens",
    "terminate.sessions": "sessions",
    "quarantine.tools": "tools",
}
"""Where the members of a set are held."""


_SCOPED = frozenset(
    {
        "deny.overlay",
        "stepup.max_age",
        "egress.allow",
        "egress.max_bytes",
        "result.max_bytes",
        "redaction.patterns",
        "redaction.mode",
    }
)
"""What is set for some calls."""

_FROZEN = frozenset({"policy.frozen", "admin.frozen"})


def _tightest(setting: str, found: Iterable[Leased]) -> Leased | None:
    """Of several rates the one that is their join; None where there is none."""
    tightest: Leased | None = None
    for rate, lease in found:
        if tightest is None or LATTICE[setting](tightest[0], rate) != tightest[0]:
            tightest = rate, lease
    return tightest


def _hold(held: Held, key: object, lease: Lease) -> None:
    other = held.get(key)
    if other is None or ends(lease) > ends(other):
        held[key] = lease


def _now(held: Held, key: object, now: float) -> Lease | None:
    lease = held.get(key)
    return lease if lease is not None and lease.holds(now) else None
