"""Rules for which the order of rows counts, or their share, or that something still holds. Pure; their memory
is bounded, and the oldest goes first.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Protocol, TypeVar

import msgspec

from airlock.incident.detect.counting import caller
from airlock.incident.detect.facts import Fact
from airlock.incident.detect.judging import Thresholds, Verdict
from airlock.incident.detect.window import Count, Tally

MOST_REMEMBERED = 10_000
"""Sessions, leases and providers that one rule remembers."""

PARTIES = frozenset({"subject.suspend", "session.terminate"})
"""Leases that contain one party. Those of a tool or a tenant also meet everybody who means no harm."""

_SENDS = re.compile(r"send|post|upload|publish|mail|share|export|webhook", re.IGNORECASE)

V = TypeVar("V")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule makes of a row."""

    group: dict[str, str]
    verdict: Verdict
    summary: str
    since: float
    ids: tuple[str, ...]


class Sequence(Protocol):
    """One such rule."""

    rule: str

    def see(self, fact: Fact, thresholds: Thresholds) -> Found | None:
        """What the row is, given those before it."""
        ...


def _remember(known: OrderedDict[str, V], key: str, value: V) -> None:
    known.pop(key, None)
    if len(known) >= MOST_REMEMBERED:
        known.popitem(last=False)
    known[key] = value


class _Tainted(msgspec.Struct, frozen=True):
    """A result that the same caller may carry on."""

    at: float
    id: str
    server: str
    tool: str


def _party(fact: Fact) -> str:
    """Whoever keeps what a result said: the session, or the caller where there is none."""
    seen = fact.seen
    return seen.session or f"{seen.tenant}\0{seen.issuer}\0{seen.subject}"


class Carried:
    """After a result of one kind, a call by the same party that changes something elsewhere.

    Reading and sending is also what people are paid for: MCP-009 tells each pair of tools once per subject,
    as far as memory reaches.
    """

    def __init__(self, rule: str, *, window: float) -> None:
        """`rule`: `MCP-009` for results of sensitive reads, `MCP-010` for results that speak to the model."""
        self.rule = rule
        self._window = window
        self._tainted: OrderedDict[str, _Tainted] = OrderedDict()
        self._habits: OrderedDict[str, float] = OrderedDict()

    def see(self, fact: Fact, thresholds: Thresholds) -> Found | None:
        seen = fact.seen
        if seen.action != "tool_call" or not seen.subject or not seen.tool:
            return None
        party = _party(fact)
        before = self._tainted.get(party)
        found: Found | None = None
        if before is not None and self._carries(before, fact) and not self._habitual(before, fact):
            found = self._found(before, fact)
        if seen.phase == "outcome" and seen.decision == "allow" and self._taints(fact):
            _remember(self._tainted, party, _Tainted(seen.at, seen.id, seen.server, seen.tool))
        return found

    def _habitual(self, before: _Tainted, fact: Fact) -> bool:
        """Whether the same subject did the same before; from now on it did."""
        if self.rule == "MCP-010":
            return False
        seen = fact.seen
        who, tools = (
            (seen.tenant, seen.issuer, seen.subject),
            (before.server, before.tool, seen.server, seen.tool),
        )
        pair = "\0".join((*who, *tools))
        habitual = pair in self._habits
        _remember(self._habits, pair, seen.at)
        return habitual

    def _taints(self, fact: Fact) -> bool:
        seen = fact.seen
        if self.rule == "MCP-010":
            return " injection " in seen.marks
        return bool(seen.read_only) and seen.sensitivity in ("high", "critical")

    def _carries(self, before: _Tainted, fact: Fact) -> bool:
        """Whether a call that changes something began behind the result, and soon enough."""
        seen = fact.seen
        began = seen.at - seen.latency_ms / 1000
        if seen.read_only or not before.at <= began <= before.at + self._window:
            return False
        if self.rule == "MCP-010":
            return True
        return seen.server != before.server and _SENDS.search(seen.tool) is not None

    def _found(self, before: _Tainted, fact: Fact) -> Found:
        seen = fact.seen
        what = "spoke to the model" if self.rule == "MCP-010" else "was sensitive"
        return Found(
            group={**caller(fact), "session": seen.session, "server": seen.server, "tool": seen.tool},
            verdict=Verdict("P1", "high" if self.rule == "MCP-010" else "medium", seen.at - before.at),
            summary=f"{seen.subject} called {seen.server}/{seen.tool} after a result of "
            f"{before.server}/{before.tool} that {what}",
            since=before.at,
            ids=(before.id, seen.id),
        )


class Failing:
    """MCP-024: calls that policy could not decide, as a part of all that it was asked about."""

    rule = "MCP-024"

    def __init__(self, *, window: float) -> None:
        self._tally = Tally(window)

    def see(self, fact: Fact, thresholds: Thresholds) -> Found | None:
        seen = fact.seen
        if seen.action != "tool_call" or seen.phase == "intent" or not seen.tool:
            return None
        asked = self._tally.add(("asked",), seen.at)
        if seen.decision == "error" and seen.reason.startswith("policy_"):
            self._tally.add(("failed",), seen.at, id=seen.id)
        if not self._tally.total(("failed",), seen.at):
            return None
        failed = self._tally.add(("failed",), seen.at, weight=0)
        total, failures = self._tally.count(asked, seen.at).total, self._tally.count(failed, seen.at)
        return self._found(failures, total, thresholds)

    @staticmethod
    def _found(failures: Count, total: int, thresholds: Thresholds) -> Found | None:
        share = failures.total / max(1, total)
        down = failures.total == total and total >= DOWN
        if not down and (share <= thresholds["share"] or total < thresholds["least"]):
            return None
        grave = down or share > thresholds["grave"]
        return Found(
            group={"component": "policy"},
            verdict=Verdict("P1" if grave else "P2", "high", share),
            summary=f"policy could not decide {failures.total} of {total} calls",
            since=failures.since,
            ids=failures.ids,
        )


DOWN = 3
"""Calls of which none could be decided: the engine is down, however few they are."""


class Keyless:
    """MCP-026: an identity provider whose keys cannot be fetched, until they can."""

    rule = "MCP-026"

    def __init__(self) -> None:
        self._failing: OrderedDict[str, float] = OrderedDict()

    def holds(self, issuers: Collection[str]) -> bool:
        """Whether one of these providers fails now: who is refused may be somebody who may come in. One that
        was given up while it failed never says that it is back."""
        return any(issuer in self._failing for issuer in issuers)

    def recall(self, failing: Mapping[str, float]) -> None:
        """What an earlier process knew."""
        self._failing.update(failing)

    @property
    def failing(self) -> Mapping[str, float]:
        """Providers, and since when."""
        return self._failing

    def see(self, fact: Fact, thresholds: Thresholds) -> Found | None:
        seen = fact.seen
        if seen.action != "discovery" or seen.event_type != "auth":
            return None
        if seen.decision == "allow":
            self._failing.pop(fact.issuer, None)
            return None
        since = self._failing.get(fact.issuer, seen.at)
        _remember(self._failing, fact.issuer, since)
        return Found(
            group={"component": "identity", "issuer": fact.issuer},
            verdict=Verdict("P1", "high", 1.0),
            summary=f"the keys of {fact.issuer} cannot be fetched: {seen.reason}",
            since=since,
            ids=(seen.id,),
        )


class Evading:
    """MCP-027: a contained party that comes back by another way (token, address, server), or as somebody else
    who is contained too."""

    rule = "MCP-027"

    def __init__(self, *, window: float) -> None:
        self._ways, self._names = Tally(window), Tally(window)
        self._kinds: OrderedDict[str, str] = OrderedDict()

    def know(self, lease: str, kind: str) -> None:
        """A lease in force, and its action."""
        _remember(self._kinds, lease, kind)

    def see(self, fact: Fact, thresholds: Thresholds) -> Found | None:
        seen = fact.seen
        if seen.action == "lease_applied":
            self.know(fact.lease, seen.kind)
        if not seen.reason.startswith("contained") or not seen.subject or not self._of_a_party(fact.lease):
            return None
        return self._by_another_way(fact, thresholds) or self._as_somebody_else(fact, thresholds)

    def _of_a_party(self, lease: str) -> bool:
        return bool(lease) and self._kinds.get(lease, "subject.suspend") in PARTIES

    def _by_another_way(self, fact: Fact, thresholds: Thresholds) -> Found | None:
        seen = fact.seen
        way = (seen.token, seen.source_ip, seen.server)
        group = self._ways.add((fact.lease,), seen.at, weight=seen.times, marks=(way,), id=seen.id)
        count = self._ways.count(group, seen.at)
        others = count.distinct - 1
        if others < thresholds["ways"]:
            return None
        summary = f"{seen.subject} is contained and came back {others} other ways"
        return _evasion({**caller(fact), "lease": fact.lease}, others, summary, count)

    def _as_somebody_else(self, fact: Fact, thresholds: Thresholds) -> Found | None:
        seen = fact.seen
        if not seen.source_ip:
            return None
        group = self._names.add((seen.source_ip,), seen.at, marks=(seen.subject,), id=seen.id)
        count = self._names.count(group, seen.at)
        if count.distinct < thresholds["ways"]:
            return None
        summary = f"{count.distinct} contained subjects came back from {seen.source_ip}"
        return _evasion({"source_ip": seen.source_ip}, count.distinct, summary, count)


def _evasion(group: dict[str, str], metric: float, summary: str, count: Count) -> Found:
    verdict = Verdict("P1", "medium", metric)
    return Found(group=group, verdict=verdict, summary=summary, since=count.since, ids=count.ids)
