"""Limits of how much is asked: by address before a token is looked at, then by token, tenant and tool.

Every limit is looked at before any is counted, and what is refused is counted by none, so that asking again
does not make a wait longer. A lease can only make a rate stricter. Counts are those of all workers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from airlock.core import metrics, units
from airlock.core.errors import Refused, Rejected, Stage
from airlock.identity.login import grant_of

if TYPE_CHECKING:
    from airlock.core.clock import Clock
    from airlock.core.config import RateLimitingSection
    from airlock.core.counters import Limit, Shared
    from airlock.core.units import Rate
    from airlock.model.call import Identified, Routed
    from airlock.model.containment import Leased, Leases, RateKind
    from airlock.model.lease import Lease
    from airlock.model.principal import Principal
    from airlock.model.snapshot import Current

NAMES = ("per_token", "burst", "concurrency", "per_tenant", "per_ip", "unauthenticated", "budget")
"""Every limit, by the word that its metric carries."""

MAX_LIMITS = 4096
"""Limits remembered with their salt: as many as there are different rates, and budgets of tools."""

MAX_KEYS = 4096
"""Identities whose key is remembered; all of them are forgotten when there are more."""

_TEXT = {
    "per_token": "Too many requests with this token.",
    "burst": "Too many requests with this token at once.",
    "concurrency": "Too many requests with this token are running.",
    "per_tenant": "Too many requests of this tenant.",
}

_IDENTITY = "Too many requests of this identity."

Counted = tuple[int, "Limit", str, "Lease | None"]
"""A key, its limit, what kind of thing it stands for, and the lease behind the limit."""


class Rates:
    """The limits of one worker. Used on the event loop; no input or output."""

    def __init__(
        self,
        *,
        section: RateLimitingSection,
        shared: Shared,
        current: Current,
        clock: Clock,
        when_done: Callable[[Callable[[], None]], None],
    ) -> None:
        """`when_done` calls its argument once the request that runs now has ended, however it ends."""
        self._shared = shared
        self._current = current
        self._clock = clock
        self._when_done = when_done
        self._limits: dict[tuple[str, Rate], Limit] = {}
        self._keys: dict[str, int] = {}
        self.configure(section)

    def configure(self, section: RateLimitingSection) -> None:
        """Take over other limits. What was counted counts on."""
        burst = None if section.burst is None else units.Rate(section.burst, 1)
        self._token = self._optional("per_token", _read(section.per_token))
        self._burst = self._optional("burst", burst)
        self._tenant = self._optional("per_tenant", _read(section.per_tenant))
        self._address = self._optional("per_ip", _read(section.per_ip))
        self._failed = self._optional("unauthenticated", _read(section.unauthenticated))
        self._concurrency = section.concurrency.per_token
        self._callers_open = not (self._token or self._burst or self._tenant or self._concurrency)

    def address(self, source_ip: str) -> None:
        """Count a request of an address, whoever asks. Raises `Rejected` 429."""
        leases, every, failed = self._current.get().leases, self._address, self._failed
        if leases.index is not None:
            every, _ = self._stricter("per_ip", every, leases.rate("per_ip", "", self._clock.wall()))
        if every is None and failed is None:
            return
        now, table, key = self._clock.monotonic(), self._shared.strangers, self._key(subscriber(source_ip))
        if failed is not None:
            wait = table.wait(key, failed, now)
            if wait:
                raise _turned_away(failed, wait)
        if every is not None:
            wait = table.wait(key, every, now)
            if wait:
                raise _turned_away(every, wait)
            table.add(key, every, now)

    def stranger(self, source_ip: str) -> None:
        """Count a credential of an address that did not count, or a request without one."""
        if self._failed is not None:
            key = self._key(subscriber(source_ip))
            self._shared.strangers.add(key, self._failed, self._clock.monotonic())

    def permit(self, identified: Identified) -> None:
        """Count a request of a known caller. Raises `Refused` 42901."""
        caller = identified.caller
        leases = caller.snapshot.leases
        if self._callers_open and leases.index is None:
            return
        principal = caller.principal
        token = self._key(f"{principal.issuer}\0{_credential(principal)}")
        if self._concurrency is not None and self._shared.running.count(token) >= self._concurrency:
            raise _refused("concurrency", 1.0, "principal", principal.tenant)
        self._count(self._counted(principal, token, leases), principal.tenant)
        if self._concurrency is not None:
            self._shared.running.begin(token)
            self._when_done(lambda: self._shared.running.end(token))

    def _counted(self, principal: Principal, token: int, leases: Leases) -> list[Counted]:
        """What one request of a caller is counted against.

        A lease for a subject tightens the rate of each of its tokens, which have been counted already, and
        counts all of them together, because another token is quickly had.
        """
        of_token, of_tenant, by_token, by_tenant = self._token, self._tenant, None, None
        found: list[Counted] = []
        if leases.index is not None:
            now = self._clock.wall()
            paced = leases.paced(principal, now)
            for name, leased in paced:
                whose = self._key("\0".join((principal.tenant, principal.issuer, name)))
                found.append((whose, self._limit("per_token", leased[0]), "principal", leased[1]))
            rates = (leases.rate("per_token", principal.tenant, now), *(leased for _, leased in paced))
            of_token, by_token = self._stricter("per_token", of_token, *rates)
            rate = leases.rate("per_tenant", principal.tenant, now)
            of_tenant, by_tenant = self._stricter("per_tenant", of_tenant, rate)
        if of_token is not None:
            found.append((token, of_token, "principal", by_token))
        if self._burst is not None:
            found.append((token, self._burst, "principal", None))
        if of_tenant is not None:
            found.append((self._key(principal.tenant), of_tenant, "tenant", by_tenant))
        return found

    def _count(self, counted: list[Counted], tenant: str) -> None:
        """Count one against each limit, or against none and raise."""
        now, table = self._clock.monotonic(), self._shared.callers
        for key, limit, kind, lease in counted:
            wait = table.wait(key, limit, now)
            if wait:
                raise _refused(limit.name, wait, kind, tenant, lease)
        for key, limit, _, _ in counted:
            table.add(key, limit, now)

    def budget(self, routed: Routed) -> None:
        """Look whether the caller's budget for this tool has room. Raises `Refused` 42902; counts nothing."""
        limit = self._budget(routed)
        if limit is None:
            return
        wait = self._shared.callers.wait(self._spender(routed), limit, self._clock.monotonic())
        if wait:
            metrics.rate_limited("budget")
            raise Refused(
                Stage.ADMIT,
                42902,
                "budget_exhausted",
                f"The budget for {routed.item.name} is used up: {limit.count} calls in {_period(limit)}.",
                scope=routed.item.scope,
                retry_after=_whole(wait),
            )

    def spend(self, routed: Routed) -> None:
        """Count a call that policy allowed."""
        limit = self._budget(routed)
        if limit is not None:
            self._shared.callers.add(self._spender(routed), limit, self._clock.monotonic())

    def _budget(self, routed: Routed) -> Limit | None:
        entry = routed.server.entry.tools.get(routed.item.name)
        if entry is None or entry.budget is None:
            return None
        return self._limit(f"budget\0{routed.item.server}\0{routed.item.name}", _rate(entry.budget))

    def _spender(self, routed: Routed) -> int:
        return self._key(_who(routed.identified.caller.principal))

    def _key(self, identity: str) -> int:
        key = self._keys.get(identity)
        if key is None:
            if len(self._keys) >= MAX_KEYS:
                self._keys.clear()
            key = self._keys[identity] = self._shared.key(identity)
        return key

    def _stricter(
        self, name: RateKind, limit: Limit | None, *rates: Leased | None
    ) -> tuple[Limit | None, Lease | None]:
        """The strictest of what is configured and what leases demand, and the lease behind it; None where
        nothing is said."""
        behind: Lease | None = None
        for leased in rates:
            if leased is None:
                continue
            rate, lease = leased
            if limit is None or rate.strictness < units.Rate(limit.count, limit.seconds).strictness:
                limit, behind = self._limit(name, rate), lease
        return limit, behind

    def _optional(self, name: str, rate: Rate | None) -> Limit | None:
        return None if rate is None else self._limit(name, rate)

    def _limit(self, name: str, rate: Rate) -> Limit:
        limit = self._limits.get((name, rate))
        if limit is None:
            if len(self._limits) >= MAX_LIMITS:
                self._limits.clear()
            limit = self._limits[name, rate] = self._shared.limit(name, rate)
        return limit


def request_ends(then: Callable[[], None]) -> None:
    """Call `then` when the task of this request has ended."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a request runs in a task")
    task.add_done_callback(lambda _: then())


@lru_cache(maxsize=1024)
def subscriber(source_ip: str) -> str:
    """Who an address stands for: itself, or the /64 of an IPv6 address, which is one subscriber's."""
    if ":" not in source_ip:
        return source_ip
    try:
        address = ipaddress.IPv6Address(source_ip)
    except ValueError:
        return source_ip
    mapped = address.ipv4_mapped
    return str(mapped) if mapped is not None else str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


@lru_cache(maxsize=MAX_LIMITS)
def _rate(text: str) -> Rate:
    return units.rate(text)


def _read(text: str | None) -> Rate | None:
    return None if text is None else _rate(text)


def _who(principal: Principal) -> str:
    return "\0".join((principal.tenant, principal.issuer, principal.subject))


def _credential(principal: Principal) -> str:
    """What the limits per token count: the token, or the login that its client refreshes it from at will."""
    return grant_of(principal.token_id) if principal.auth == "login" else principal.token_id


def _period(limit: Limit) -> str:
    return units.show_duration(limit.seconds)


def _whole(wait: float) -> int:
    """`Retry-After` has whole seconds, and nobody who keeps to it is refused for it."""
    return max(1, math.ceil(wait))


def _turned_away(limit: Limit, wait: float) -> Rejected:
    metrics.rate_limited(limit.name)
    return Rejected(
        429,
        42901,
        "rate_limited",
        "Too many requests from this address.",
        data={"code": 42901, "reason": "rate_limited", "retry_after": _whole(wait)},
        headers=(("retry-after", str(_whole(wait))),),
    )


def _refused(name: str, wait: float, kind: str, tenant: str, lease: Lease | None = None) -> Refused:
    """The refusal by a limit, and by the lease behind it. The incident is told only to callers of the tenant
    that the lease is about."""
    metrics.rate_limited(name)
    ours = lease is not None and lease.selector.tenant == tenant
    return Refused(
        Stage.ADMIT,
        42901,
        "rate_limited",
        _IDENTITY if lease is not None and lease.selector.subject else _TEXT[name],
        scope={"kind": kind},
        retry_after=_whole(wait),
        lease="" if lease is None else lease.id,
        incident=lease.incident if lease is not None and ours else "",
    )
