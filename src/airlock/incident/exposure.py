"""What an attacker reached, from where containment and detection point to him.

1 starting points: subjects, addresses, sessions and tools that alerts and leases of the incident name
2 at most three steps outward: whoever used a known session, the sessions and addresses of a known subject
3 an address from which several subjects called stands for none of them
4 every row of a known party falls into one bucket: `confirmed` (it happened), `possible` (it was sent and its
  end is not known), `prevented` (it was refused)

Exposure is not impact: whom containment hits is another number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

import msgspec

from airlock.model.incident import Alert
from airlock.model.lease import Lease
from airlock.model.network import Network, network, normalised
from airlock.model.network import address as address_of

HOPS = 3

MOST = 1000
"""Row ids that a bucket names; its count is exact."""

SHARED = 3
"""Subjects of one address from which on it is shared: an office, a proxy."""

Bucket = Literal["confirmed", "possible", "prevented"]
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
PartyKind = Literal["subject", "address", "session", "tool"]
Party = tuple[PartyKind, str]


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the log, as far as exposure asks for it; the columns of the stored question `exposure`."""

    id: str
    correlation: str = ""
    phase: str = "single"
    decision: str = ""
    reason: str = ""
    subject: str = ""
    tenant: str = ""
    address: str = ""
    session: str = ""
    server: str = ""
    tool: str = ""
    effect: str = ""
    count: int = 1
    bytes: int = 0

    @property
    def resource(self) -> str:
        """`server/tool`; empty where it is about no tool."""
        return f"{self.server}/{self.tool}" if self.tool else ""


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """What was reached."""

    start: tuple[Party, ...]
    parties: tuple[Party, ...]
    """Everybody and everything found on the way, the starting points included."""
    shared: tuple[str, ...]
    """Addresses that several subjects use: what known parties did there counts, what others did does not."""
    counts: dict[Bucket, int]
    rows: dict[Bucket, tuple[str, ...]]
    """Ids of audit rows, at most `MOST` each."""
    tools: dict[Bucket, tuple[str, ...]]
    tenants: tuple[str, ...]
    bytes: int
    """Of the results that were handed out."""
    unknown: tuple[str, ...] = ()
    """What these numbers do not say, and why."""


def starting_points(alerts: Iterable[Alert], leases: Iterable[Lease]) -> tuple[Party, ...]:
    """The parties that alerts and leases name, sorted."""
    found: set[Party] = set()
    for alert in alerts:
        group = alert.finding.group
        found |= _named(group.get("subject", ""), group.get("source_ip", ""), group.get("session", ""))
        found |= _tool(group.get("server", ""), group.get("tool", ""))
    for lease in leases:
        chosen = lease.selector
        found |= _named(chosen.subject, chosen.cidr, chosen.session) | _tool(chosen.server, chosen.tool)
    return tuple(sorted(found))


def expose(rows: Sequence[Trace], start: Sequence[Party], *, unknown: Sequence[str] = ()) -> Exposure:
    """Follow the parties of `start` through the rows, and sort what they did into buckets."""
    shared = _shared(rows)
    parties = set(start)
    for _ in range(HOPS):
        belongs = _belonging(parties, shared)
        found = {party for row in rows if belongs(row) for party in _leads(row, parties, shared)}
        if found <= parties:
            break
        parties |= found
    belongs = _belonging(parties, shared)
    reached = [row for row in rows if belongs(row)]
    buckets = _sorted(reached, ended={row.correlation for row in rows if row.phase == "outcome"})
    return Exposure(
        start=tuple(start),
        parties=tuple(sorted(parties)),
        shared=tuple(sorted({row.address for row in reached} & shared)),
        counts={each: sum(row.count for row in buckets[each]) for each in BUCKETS},
        rows={each: tuple(row.id for row in buckets[each][:MOST]) for each in BUCKETS},
        tools={each: tuple(sorted({row.resource for row in buckets[each]} - {""})) for each in BUCKETS},
        tenants=tuple(sorted({row.tenant for row in buckets["confirmed"]} - {""})),
        bytes=sum(row.bytes for row in buckets["confirmed"]),
        unknown=tuple(unknown),
    )


def _sorted(reached: Iterable[Trace], *, ended: set[str]) -> Mapping[Bucket, list[Trace]]:
    buckets: Mapping[Bucket, list[Trace]] = defaultdict(list)
    for row in reached:
        bucket = _bucket(row, ended)
        if bucket is not None:
            buckets[bucket].append(row)
    return buckets


def _bucket(row: Trace, ended: set[str]) -> Bucket | None:
    """Where a row belongs; None for one that says nothing of its own, such as an intent that has its end."""
    if row.phase == "intent":
        return None if row.correlation in ended else "possible"
    if row.decision == "allow":
        return "possible" if row.reason == "fail_open" else "confirmed"
    if row.decision == "deny":
        return "prevented"
    return "possible" if row.effect == "possible" else None


def _belonging(parties: set[Party], shared: frozenset[str]) -> Callable[[Trace], bool]:
    networks = [network(value) for kind, value in parties if kind == "address"]
    known: dict[str, bool] = {"": False}

    def inside(text: str) -> bool:
        if text not in known:
            known[text] = any(within(text, each) for each in networks)
        return known[text]

    def belongs(row: Trace) -> bool:
        if ("subject", row.subject) in parties or ("session", row.session) in parties:
            return True
        if row.resource and ("tool", row.resource) in parties:
            return True
        return inside(row.address) and (not row.subject or row.address not in shared)

    return belongs


def _leads(row: Trace, parties: set[Party], shared: frozenset[str]) -> set[Party]:
    """The parties to which a row leads on. Whoever called a known tool is no party for that alone."""
    if not _of_somebody(row, parties) and row.resource and ("tool", row.resource) in parties:
        return set()
    return _named(row.subject, "" if row.address in shared else row.address, row.session)


def _of_somebody(row: Trace, parties: set[Party]) -> bool:
    return bool(parties & _named(row.subject, row.address, row.session))


def _shared(rows: Iterable[Trace]) -> frozenset[str]:
    users: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.subject and row.address:
            users[row.address].add(row.subject)
    return frozenset(address for address, found in users.items() if len(found) >= SHARED)


def _named(subject: str, address: str, session: str) -> set[Party]:
    found: set[Party] = {("subject", subject)} if subject else set()
    if written := _network(address):
        found.add(("address", written))
    if session:
        found.add(("session", session))
    return found


def within(address: str, wide: Network) -> bool:
    """Whether a network has this address; what is no address is in none."""
    try:
        at = address_of(address)
    except ValueError:
        return False
    return at.version == wide.version and at in wide


def _network(text: str) -> str:
    """The one spelling of an address or network; empty for anything else."""
    try:
        return normalised(text)
    except ValueError:
        return ""


def _tool(server: str, tool: str) -> set[Party]:
    return {("tool", f"{server}/{tool}")} if server and tool else set()
