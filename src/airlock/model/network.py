"""Addresses and networks as people and sockets write them: one spelling each, and membership by number."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def address(text: str) -> Address:
    """The address, IPv4 where an IPv6 address only carries one. Raises `ValueError` for anything else."""
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            raise ValueError("an address with a zone means something on one machine only")
        return found.ipv4_mapped or found
    return found


def network(text: str) -> Network:
    """The network of `203.0.113.0/24`, or of one address alone.

    Raises `ValueError` for bits beyond the prefix: half of its readers mean the address, half the network.
    """
    if "%" in text:
        raise ValueError("an address with a zone means something on one machine only")
    try:
        found = ipaddress.ip_network(text)
    except ValueError as wrong:
        raise ValueError(_hint(text)) from wrong
    if isinstance(found, ipaddress.IPv6Network) and found.subnet_of(_MAPPED):
        inside = found.network_address.ipv4_mapped or found.network_address
        return ipaddress.IPv4Network((int(inside), found.prefixlen - 96))
    return found


def normalised(text: str) -> str:
    """The one spelling of a network, always with its prefix length. Raises `ValueError`."""
    return str(network(text))


def _hint(text: str) -> str:
    try:
        wide = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "not an address or a network such as 203.0.113.7 or 203.0.113.0/24"
    return f"the prefix leaves bits out: write {wide} for the network, or the address alone"
