"""Refusals before authentication: counted, so that strangers cannot fill the log.

The first refusal of a source network and reason is sealed before it is answered. Those that follow within
the window are counted and sealed as one row with the exact count when the window ends (10 s), or when the
worker drains. A window that counted anything is followed by the next one at once, so that a steady flow
makes one row per window. Only the first of a row of windows ends early, once one address tried so many
credentials that somebody should know at once.

A row says of its most frequent address how often it was refused, and how many subjects and tokens it tried:
as numbers, and as short marks by which rows can be united.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import AuditFault, Fault, Refused, Unauthenticated
from airlock.gateway import marks
from airlock.model.call import Inbound
from airlock.model.entry import Event, Personal, Receipt

WINDOW = 10.0
"""Seconds of one aggregate (audit contract: one row per source network and reason in 10 s at most)."""

MAX_NETWORKS = 1024
"""Aggregates held at a time; further networks share the aggregate of `0.0.0.0/0`, so memory and disk stay
bounded."""

MAX_ADDRESSES = 16
"""Addresses of one aggregate that are told apart; further ones only count."""

MAX_MARKS = 64
"""Subjects, and tokens, of one address that are told apart."""

HURRY_SUBJECTS, HURRY_CREDENTIALS = 5, 15
"""Claimed subjects, or refused credentials, of one address that end its first window early."""

_ELSEWHERE = "0.0.0.0/0"


_ACTIONS = {
    "rate_limited": "rate_limit_hit",
    "too_many_clients": "rate_limit_hit",
    "contained": "security_violation",
}
"""What was tried, where it was not to prove who one is."""


class Log(Protocol):
    async def seal(self, event: Event) -> Receipt: ...


class Tried(msgspec.Struct):
    """What one address tried; of IPv6 what its /64 did, of which one machine may have all."""

    source_ip: str
    count: int = 0
    subjects: set[int] = msgspec.field(default_factory=set[int])
    tokens: set[int] = msgspec.field(default_factory=set[int])

    @property
    def urgent(self) -> bool:
        """Whether this is no accident any more."""
        return len(self.subjects) >= HURRY_SUBJECTS or (bool(self.tokens) and self.count >= HURRY_CREDENTIALS)


class Aggregate(msgspec.Struct, kw_only=True):
    """Refusals of one network for one reason. `count` are those that no row tells, nor one on its way."""

    until: float
    source_ip: str
    decision: Literal["deny", "error"]
    count: int = 0
    addresses: dict[str, Tried] = msgspec.field(default_factory=dict[str, Tried])
    hurried: bool = False
    """Whether a window of this row of windows ended early."""

    def note(self, source_ip: str, credential: tuple[str, str] | None) -> Tried | None:
        """Count one refusal; `credential`: its token, and the subject that it claims.

        None where the address is not told apart any more.
        """
        self.count += 1
        party = network_of(source_ip) if ":" in source_ip else source_ip
        tried = self.addresses.get(party)
        if tried is None:
            if len(self.addresses) >= MAX_ADDRESSES:
                return None
            tried = self.addresses[party] = Tried(source_ip=source_ip)
        tried.count += 1
        if credential is not None:
            for text, known in zip(credential, (tried.tokens, tried.subjects), strict=True):
                if text and len(known) < MAX_MARKS:
                    known.add(marks.short(text))
        return tried


class Counted(msgspec.Struct, frozen=True):
    """What one row tells."""

    count: int
    addresses: dict[str, Tried]

    def foremost(self, otherwise: str) -> Tried:
        """The address that was refused most often; of several, the one that came first."""
        if not self.addresses:
            return Tried(source_ip=otherwise)
        return max(self.addresses.values(), key=lambda each: each.count)


def told(tried: Tried) -> dict[str, object]:
    """What a row says of the address that it names; nothing where it sent no credential."""
    if not tried.tokens:
        return {}
    return {
        "of_address": tried.count,
        "tokens": len(tried.tokens),
        "token_marks": sorted(tried.tokens),
        "subjects": len(tried.subjects),
        "subject_marks": sorted(tried.subjects),
    }


class Strangers:
    """Holds the open windows of one worker. Used on the event loop only."""

    def __init__(self, *, log: Log, clock: Clock, failed: Callable[[str], None] = lambda _: None) -> None:
        """`failed` hears every address whose credential did not count. Who sent none only asks where to get
        one, as every client does at first."""
        self._log = log
        self._clock = clock
        self._failed = failed
        self._open: dict[tuple[str, str], Aggregate] = {}

    async def refused(self, inbound: Inbound, failure: Refused | Fault) -> None:
        """Record one refusal or failure: durable at once if it is the first of its window, else counted."""
        credential: tuple[str, str] | None = None
        if isinstance(failure, Unauthenticated) and failure.error is not None:
            self._failed(inbound.source_ip)
            token = (inbound.headers.get("authorization") or "").rpartition(" ")[2]
            credential = (token, failure.claimed)
        await self._note(inbound.source_ip, failure, credential)

    async def turned_away(self, source_ip: str, failure: Refused | Fault) -> None:
        """The same for an address whose request nobody looked at."""
        await self._note(source_ip, failure, None)

    async def _note(
        self, source_ip: str, failure: Refused | Fault, credential: tuple[str, str] | None
    ) -> None:
        network = network_of(source_ip)
        key = (network, failure.reason)
        if key not in self._open and len(self._open) >= MAX_NETWORKS:
            key = (_ELSEWHERE, failure.reason)
        window = self._open.get(key)
        if window is not None:
            tried = window.note(source_ip, credential)
            if tried is not None and tried.urgent and not window.hurried:
                await self._hurry(key, window)
            return
        self._open[key] = window = Aggregate(
            until=self._clock.monotonic() + WINDOW,
            source_ip=source_ip,
            decision="deny" if isinstance(failure, Refused) else "error",
        )
        window.note(source_ip, credential)
        counted = self._taken(window)
        try:
            await self._seal(key, window, counted)
        except AuditFault:
            self._count_again(key, window, counted)
            raise

    async def _hurry(self, key: tuple[str, str], window: Aggregate) -> None:
        """End the window now. What cannot be written waits for its end."""
        window.hurried, window.until = True, self._clock.monotonic() + WINDOW
        counted = self._taken(window)
        try:
            await self._seal(key, window, counted)
        except AuditFault:
            self._count_again(key, window, counted)

    async def close_windows(self, *, everything: bool = False) -> None:
        """Seal the aggregates whose window has ended (or all of them, when draining)."""
        now = self._clock.monotonic()
        ended = [(key, window) for key, window in self._open.items() if everything or window.until <= now]
        for key, window in ended:
            if self._open.get(key) is not window:
                continue  # another closing was quicker
            counted = self._taken(window)
            window.until = now + WINDOW
            if everything or not counted.count:
                del self._open[key]
            if counted.count:
                try:
                    await self._seal(key, window, counted)
                except AuditFault:
                    self._count_again(key, window, counted)

    def _taken(self, window: Aggregate) -> Counted:
        """What the next row tells; the window begins to count anew."""
        counted = Counted(count=window.count, addresses=window.addresses)
        window.count, window.addresses = 0, {}
        return counted

    def _count_again(self, key: tuple[str, str], window: Aggregate, counted: Counted) -> None:
        """What could not be written counts in the next row, also where the window was closed meanwhile."""
        held = self._open.setdefault(key, window)
        held.count += counted.count
        for party, tried in counted.addresses.items():
            known = held.addresses.setdefault(party, Tried(source_ip=tried.source_ip))
            known.count += tried.count
            known.subjects |= tried.subjects
            known.tokens |= tried.tokens

    async def run(self) -> None:
        """Close windows as they end, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            await self.close_windows()

    async def _seal(self, key: tuple[str, str], window: Aggregate, counted: Counted) -> None:
        network, reason = key
        tried = counted.foremost(window.source_ip)
        await self._log.seal(
            Event(
                event_type="auth",
                action=_ACTIONS.get(reason, "token_validate"),
                decision=window.decision,
                reason=reason,
                severity="MEDIUM",
                metadata={
                    "count": counted.count,
                    "prefix": ipaddress.ip_network(network).prefixlen,
                    **told(tried),
                },
                personal=Personal(source_ip=tried.source_ip),
            )
        )


def network_of(source_ip: str) -> str:
    """The /24 (IPv4, mapped or not) or /64 (IPv6) that an address belongs to."""
    try:
        address = ipaddress.ip_address(source_ip)
    except ValueError:
        return _ELSEWHERE
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))
