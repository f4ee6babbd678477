"""Where the gateway may connect: an answer of the resolver is checked before anything is sent to it.

`check` is pure and sees every address of a name; the caller then connects to one of the checked
addresses and never resolves again. Addresses with an IPv4 address inside (mapped, 6to4, NAT64, Teredo) are
refused, since they reach what their inner address names. A URL of the local configuration allows exactly
its own scheme, host and port, and still never a metadata service by name, nor an unusable address.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from airlock.core.errors import Effect, UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]

_PORTS = {"http": 80, "https": 443}

_NEVER = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # "this host" (RFC 1122): connects to loopback on Linux
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved and limited broadcast
        "::/128",  # unspecified
        "ff00::/8",  # multicast
    )
)
"""No server is there, whoever says so."""

_METADATA = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local: instance metadata of most clouds, credentials of containers
        "100.100.100.200/32",  # instance metadata of Alibaba Cloud
        "168.63.129.16/32",  # platform address of Azure
        "192.0.0.192/32",  # instance metadata of Oracle Cloud
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # instance metadata of AWS
        "fd20:ce::254/128",  # instance metadata of Google Cloud
    )
)
"""Reached only where the configuration writes the address itself: a name never leads here."""

_EMBEDDED = tuple(
    ip_network(text)
    for text in (
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "::/96",  # IPv4-compatible, deprecated
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # NAT64, local use (RFC 8215)
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
    )
)
"""IPv6 addresses with an IPv4 address inside."""

_INWARD = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "100::/64",  # discard
        "2001::/23",  # IETF protocol assignments
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique-local
        "fec0::/10",  # site-local, deprecated
    )
)
"""Loopback, private, shared and reserved: fine for a server of the local configuration, for nothing else."""

_OUTWARD_IPV6 = ip_network("2000::/3")
"""All IPv6 addresses that are assigned to the internet."""


class Forbidden(UpstreamFault):
    """The guard refused an address: nothing was sent. To a caller it is a server that cannot be reached."""

    @classmethod
    def because(cls, why: str) -> Forbidden:
        """`why` is for the log."""
        text = "The server cannot be reached."
        return cls(50301, "upstream_unavailable", text, detail=why, effect=Effect.NONE)


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host (lower case, without brackets) and port."""

    scheme: str
    host: str
    port: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A URL taken apart: where to connect, what to ask for, and the name for `Host` and SNI."""

    origin: Origin
    target: str
    """Path and query, as sent."""
    authority: str
    """Value of `Host`."""


def endpoint(url: str) -> Endpoint:
    """Take an upstream URL apart. Raises `ValueError` for anything but a plain http(s) URL."""
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("a URL is written in visible ASCII")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ValueError("a server's URL begins with http:// or https://")
    if not parts.hostname or "@" in parts.netloc or "\\" in url:
        raise ValueError("a server's URL names a host, without user or password")
    if parts.fragment or url.endswith("#"):
        raise ValueError("a server's URL has no fragment")
    host = parts.hostname.rstrip(".")
    port = parts.port if parts.port is not None else _PORTS[parts.scheme]
    name = f"[{host}]" if ":" in host else host
    return Endpoint(
        origin=Origin(parts.scheme, host, port),
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        authority=name if port == _PORTS[parts.scheme] else f"{name}:{port}",
    )


def check(origin: Origin, addresses: Iterable[str], allowed: Collection[Origin] = ()) -> tuple[str, ...]:
    """The addresses of `origin`, all of them checked. `allowed`: origins written in the local configuration.

    One refused address refuses the name: its owner could answer until the bad one comes first.
    Raises `Forbidden`.
    """
    checked = tuple(_parsed(text) for text in addresses)
    if not checked:
        raise _refused(origin, "it has no address")
    configured = origin in allowed
    if origin.scheme != "https" and not configured:
        raise _refused(origin, "plain HTTP is not allowed")
    for address in checked:
        what = _objection(address, configured=configured, literal=is_literal(origin.host))
        if what:
            raise _refused(origin, f"{address} is {what}")
    return tuple(str(address) for address in checked)


class Watch:
    """Checks the answers for one origin over time: what once led to the internet does not turn inward later.

    That is how a name is abused to reach a private network (DNS rebinding); a reload forgets.
    """

    def __init__(self, *, origin: Origin, allowed: Collection[Origin]) -> None:
        self._origin = origin
        self._allowed = allowed
        self._was_public = False

    def check(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """As the function `check`."""
        checked = check(self._origin, addresses, self._allowed)
        public = all(is_public(address) for address in checked)
        if self._was_public and not public:
            raise _refused(self._origin, "it turned from a public to a private address")
        self._was_public = self._was_public or public
        return checked


def is_public(address: str) -> bool:
    """Whether an address belongs to the internet at large."""
    return not _objection(_parsed(address), configured=False, literal=False)


def _objection(address: Address, *, configured: bool, literal: bool) -> str:
    """Why not to connect there; empty if nothing speaks against it."""
    if _within(address, _NEVER):
        return "no address of a server"
    if _within(address, _EMBEDDED) and address != IPv6Address("::1"):
        return "an IPv4 address in disguise"
    if configured and literal:
        return ""
    if _within(address, _METADATA):
        return "link-local or a metadata service"
    if configured:
        return ""
    outward = address.version == 4 or address in _OUTWARD_IPV6
    return "" if outward and not _within(address, _INWARD) else "not a public address"


def _within(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)


def is_literal(host: str) -> bool:
    """Whether a host is an address already, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _parsed(text: str) -> Address:
    """A resolver may append a zone to a link-local address; it does not change what the address is."""
    return ip_address(text.partition("%")[0])


def _refused(origin: Origin, why: str) -> Forbidden:
    return Forbidden.because(f"will not connect to {origin.host}: {why}")
