"""Hosts in the one spelling of URLs (WHATWG): what differs to the eye, or to one parser, may be the same.

Lower case, punycode, numbers of IPv4 in their dotted form, IPv6 in brackets, no dot at the end.
"""

from __future__ import annotations

from pydantic_core import Url

LONGEST = 1024
"""Characters, some of them still encoded. A host has 253 at most."""

_FOREIGN = "/\\:@?#%* \t\r\n"
"""Characters with which an entry would say more than a host."""


def canonical(host: str) -> str:
    """The one spelling of a host; "" for what is none."""
    if len(host) > LONGEST:
        return ""
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    try:
        return (Url(f"https://{bracketed}/").host or "").removesuffix(".")
    except ValueError:
        return ""


def listed(entry: str) -> tuple[str, bool]:
    """An entry of a list of hosts: its host, and whether it means all below that (`*.name`).

    Raises ValueError for an entry that is not a host.
    """
    below = entry.startswith("*.")
    host = entry[2:] if below else entry
    plain = host.startswith("[") or not any(char in host for char in _FOREIGN)
    name = canonical(host) if plain else ""
    if not name:
        raise ValueError(f"`{entry}` is no host")
    return name, below
