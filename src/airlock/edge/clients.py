"""Who really speaks: the address of the socket, or the one that trusted proxies in front of us vouch for.

A proxy appends the address that it saw to `X-Forwarded-For`. Read from the right, the first address that is
not a trusted proxy is the client; everything left of it is the client's own claim and is not looked at.
`Forwarded` and other headers count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from airlock.edge.visit import Client, Fields
from airlock.model.network import Address, Network, address, network

HEADER = b"x-forwarded-for"

MAX_HOPS = 16
"""Proxies in a row that are followed: a longer list of them is somebody's game."""


class Clients:
    """Knows the trusted proxies of a deployment, as CIDRs. Raises `ValueError` for what is no network."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted: tuple[Network, ...] = tuple(network(text) for text in trusted)

    def real(self, peer: Client | None, fields: Fields) -> Client:
        """The client behind a request that came from `peer` with these header fields."""
        told = peer or ("", 0)
        peer = told[0].partition("%")[0], told[1]  # a zone is ours, not the client's: blocks know none
        if not self._trusted:
            return (_plain(peer[0]), peer[1]) if ":" in peer[0] else peer
        seen = _read(peer[0])
        if seen is None or not self._trusts(seen):
            return _plain(peer[0]), peer[1]
        return self._behind(str(seen), peer[1], _hops(fields))

    def _behind(self, nearest: str, port: int, hops: Sequence[str]) -> Client:
        """The first that is no proxy of ours. Where somebody said what is no address, the one before it."""
        for hop in hops:
            found = _read(_without_port(hop))
            if found is None:
                break
            nearest, port = str(found), 0
            if not self._trusts(found):
                break
        return nearest, port

    def _trusts(self, seen: Address) -> bool:
        return any(seen.version == proxies.version and seen in proxies for proxies in self._trusted)


def _hops(headers: Fields) -> list[str]:
    """What the proxies said, the nearest first."""
    said = b",".join(value for name, value in headers if name == HEADER)
    if not said:
        return []
    return [part.strip().decode("latin-1") for part in reversed(said.rsplit(b",", MAX_HOPS)[-MAX_HOPS:])]


def _without_port(hop: str) -> str:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` and `[2001:db8::1]:80`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _read(text: str) -> Address | None:
    try:
        return address(text)
    except ValueError:
        return None


def _plain(text: str) -> str:
    """IPv4 where a socket that listens for both says it as IPv6."""
    found = _read(text)
    return text if found is None else str(found)
