"""What nobody may contain by mistake: the operator's own way in, and everybody at once."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from airlock.model.lease import Selector, Unfit, rate_of
from airlock.model.network import Address, Network, address, network

WIDEST = {4: 16, 6: 32}
"""Prefix length, by version, of the widest network that one person alone may block."""

SLOWEST = 60
"""Seconds in which every address must be left one request."""


def lock_out(selector: Selector, caller_ip: str, trusted_proxies: Iterable[str]) -> None:
    """Raise `Unfit` `would_lock_out` where a block would hit the machine itself, a proxy in front of it, the
    caller, or everybody, or a rate would leave no address a request; `network_too_wide` where it takes two
    people. Other selectors pass.

    `caller_ip` is the real address of who asks, empty for a command on this machine.
    """
    _within_reach(selector)
    if not selector.cidr:
        return
    blocked = network(selector.cidr)
    hit = _hit(blocked, caller_ip, [network(proxy) for proxy in trusted_proxies])
    if hit:
        raise Unfit("would_lock_out", f"{blocked} holds {hit}.")
    widest = WIDEST[blocked.version]
    if blocked.prefixlen < widest:
        raise Unfit("network_too_wide", f"{blocked} is wider than /{widest}: block smaller networks.")


def _within_reach(selector: Selector) -> None:
    """Operators ask from addresses too, and have to be able to take a rate back."""
    rate = rate_of(selector, "per_ip")
    if rate is not None and rate.count * SLOWEST < rate.seconds:
        text = f"{selector.per_ip} for every address leaves you none in {SLOWEST} s: take 1/min or more."
        raise Unfit("would_lock_out", text)


def _hit(blocked: Network, caller_ip: str, proxies: Iterable[Network]) -> str:
    """Who would be hit that must not be; empty for nobody."""
    if blocked.prefixlen == 0:
        return "everybody"
    if any(_overlaps(blocked, loopback) for loopback in _LOOPBACK):
        return "loopback addresses: the gateway's own machine"
    if any(_overlaps(blocked, proxy) for proxy in proxies):
        return "trusted proxies: everybody behind them"
    if caller_ip and _holds(blocked, address(caller_ip)):
        return "the address that you come from"
    return ""


_LOOPBACK: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
    ipaddress.ip_network("0.0.0.0/8"),
    ipaddress.ip_network("::/128"),
)
"""Where this machine speaks to itself, and the address that stands for any."""


def _overlaps(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _holds(blocked: Network, caller: Address) -> bool:
    return caller.version == blocked.version and caller in blocked
