"""The shadow tenant: attacks in which nobody is anybody, and leases that can be about nobody else. Pure.

A trace is played with every name in it replaced by one that only a drill has. Addresses of traces are those
that are reserved for documentation (RFC 5737, RFC 3849).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network

import msgspec

from airlock.incident.detect.facts import Fact
from airlock.incident.detect.seen import Seen
from airlock.incident.detect.traces import Line
from airlock.model.lease import Lease
from airlock.model.network import network

TENANT = "airlock-drill"
"""What every tenant of a drill begins with."""

ISSUER = "https://drill.invalid"
"""No token can come from there: `.invalid` is reserved (RFC 2606)."""

NAME = "drill."
"""What every other name of a drill begins with."""

RESERVED: tuple[IPv4Network | IPv6Network, ...] = tuple(
    map(network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
)


def named(name: str) -> str:
    """The name of a drill for one of a trace; of nothing, nothing."""
    return f"{NAME}{name}" if name else ""


def digest(of: str) -> str:
    """The SHA-256 of a drill for something that a trace calls by a digest."""
    return hashlib.sha256(f"{NAME}{of}".encode()).hexdigest() if of else ""


def tenant(name: str) -> str:
    """The shadow of a tenant."""
    return f"{TENANT}.{name}" if name else ""


def fact(line: Line) -> Fact:
    """A row of a trace, about nobody."""
    more = {("lease" if key == "lease_id" else key): value for key, value in line.more.items()}
    if "issuer" in more:
        more["issuer"] = ISSUER
    return msgspec.convert({"seen": seen(line.seen), **more}, Fact, from_attributes=True)


def seen(row: Seen) -> Seen:
    """The same row with the names of a drill."""
    return msgspec.structs.replace(
        row,
        tenant=tenant(row.tenant),
        issuer=ISSUER if row.issuer else "",
        subject=named(row.subject),
        session=digest(row.session),
        token=named(row.token),
        server=named(row.server),
        target=named(row.target),
        digest=digest(row.digest),
        server_tenant=tenant(row.server_tenant),
    )


def names(rows: Iterable[Seen]) -> frozenset[str]:
    """Every name in these rows of a drill."""
    return frozenset(name for row in rows for name in _names(row) if name)


def strays(leases: Iterable[Lease], known: Collection[str]) -> list[str]:
    """What leases name that is not one of these names of a drill; empty: they can be about nobody else."""
    found: list[str] = []
    for lease in leases:
        values = {field: str(getattr(lease.selector, field)) for field in _NAMING}
        stray = [(field, value) for field, value in values.items() if value and value not in known]
        if lease.selector.cidr and not _reserved(lease.selector.cidr):
            stray.append(("cidr", lease.selector.cidr))
        found += [f"{lease.action} names {field} {value}" for field, value in stray]
    return found


_NAMING = ("tenant", "issuer", "subject", "token", "session", "server", "digest")
"""Fields of a selector that say who is meant; a tool counts by its server."""


def _names(row: Seen) -> tuple[str, ...]:
    return (row.tenant, row.issuer, row.subject, row.token, row.session, row.server, row.digest)


def _reserved(cidr: str) -> bool:
    asked = network(cidr)
    return any(
        known.version == asked.version and known.supernet_of(asked)  # pyright: ignore[reportArgumentType]
        for known in RESERVED
    )
