"""The part `leases` of a snapshot: what is contained, ready to be asked on every call.

With no lease there is no index, and a check is one attribute test. With an index a check is a handful of
dictionary lookups, however many leases there are; networks are looked up once per prefix length in use.
Where several leases hold the same, the one that ends last answers. A lease that is over says nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airlock.core.units import Rate
from airlock.model.lattice import LATTICE
from airlock.model.lease import ANY, RULES, Lease, delta
from airlock.model.network import address, network

if TYPE_CHECKING:
    from airlock.model.principal import Principal
    from airlock.model.server import Tool

RateKind = Literal["per_token", "per_ip", "per_tenant"]

Held = dict[Any, Lease]
"""What is contained, and the lease that contains it longest."""

Limits = list[tuple[Rate, Lease]]


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
        self.rates: dict[tuple[str, str], Limits] = {}
        """By setting and tenant; `*`: for every tenant."""
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

    def tool(self, tool: Tool, now: float) -> Lease | None:
        """What holds this tool in quarantine, in any definition or in this one."""
        if not self.tools:
            return None
        server, name = tool.server, tool.name
        whatever = _now(self.tools, (server, name, ANY), now)
        return whatever or _now(self.tools, (server, name, tool.digest), now)


class Leases(msgspec.Struct, frozen=True, kw_only=True):
    """Active containment leases of one state of the store. Times are Unix seconds."""

    epoch: int = 0
    """Rises with every change of the leases; stands in every row."""
    index: Index | None = None
    """None: nothing is contained."""
    held: tuple[Lease, ...] = ()
    """The leases themselves."""

    def rate(self, kind: RateKind, tenant: str, now: float) -> Rate | None:
        """The tightest rate that leases demand of callers of this tenant (empty: not known yet); None where
        they demand none. It only ever tightens: take the stricter of it and the configured one."""
        if self.index is None or not self.index.rates:
            return None
        tightest: Rate | None = None
        setting = f"rate.{kind}"
        for scope in (ANY, tenant):
            for rate, lease in self.index.rates.get((setting, scope), ()):
                if lease.holds(now):
                    tightest = rate if tightest is None else LATTICE[setting](tightest, rate)
        return tightest


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
    if setting == "block.ips":
        for text in value:
            blocked = network(text)
            bits = int(blocked.network_address) >> (blocked.max_prefixlen - blocked.prefixlen)
            _hold(index.networks.setdefault((blocked.version, blocked.prefixlen), {}), bits, lease)
    elif setting == "server.status":
        _hold(index.servers, lease.selector.server, lease)
    elif setting.startswith("rate."):
        index.rates.setdefault((setting, lease.selector.tenant or ANY), []).append((value, lease))
    elif setting in _SETS:
        for member in value:
            _hold(getattr(index, _SETS[setting]), member, lease)


_SETS: Mapping[str, str] = {
    "suspend.subjects": "subjects",
    "isolate.tenants": "tenants",
    "revoke.tokens": "tokens",
    "terminate.sessions": "sessions",
    "quarantine.tools": "tools",
}
"""Where the members of a set are held."""


def _hold(held: Held, key: object, lease: Lease) -> None:
    other = held.get(key)
    if other is None or _end(lease) > _end(other):
        held[key] = lease


def _end(lease: Lease) -> float:
    return float("inf") if lease.expires_at is None else lease.expires_at


def _now(held: Held, key: object, now: float) -> Lease | None:
    lease = held.get(key)
    return lease if lease is not None and lease.holds(now) else None
