"""Names of what servers offer: on the federated route `server__tool`, and the one by which policy, pins,
leases and records know it.

A server id has no underscore, so the first `__` always splits. A tool is known by its own name, a prompt as
`prompt:NAME`, a resource as `resource:URI`, a template as `template:URI_TEMPLATE`; a tool that is called like
one of those is known as `tool:NAME`, so that no two things share a name.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal

SERVER = re.compile(r"[a-z][a-z0-9-]{0,30}")
"""A server id; use `fullmatch`."""

SEPARATOR = "__"

Kind = Literal["tool", "prompt", "resource", "template"]
KINDS: tuple[Kind, ...] = ("tool", "prompt", "resource", "template")

FIND = "airlock__find_tools"
"""The gateway's own tool, where it offers one."""

MAX_NAME = 128
"""Longest tool name that MCP clients are expected to accept (MCP 2025-11-25, tool names)."""

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_OTHER = re.compile(r"[^A-Za-z0-9_.-]")
_DIGEST = 8


def alias(server: str, tool: str) -> str:
    """The federated name of a tool or a prompt; one that clients would refuse is cleaned, cut and given a
    digest."""
    name = f"{server}{SEPARATOR}{tool}"
    if len(name) <= MAX_NAME and _PLAIN.fullmatch(tool):
        return name
    digest = hashlib.sha256(tool.encode()).hexdigest()[:_DIGEST]
    room = MAX_NAME - len(server) - len(SEPARATOR) - 1 - _DIGEST
    return f"{server}{SEPARATOR}{_OTHER.sub('_', tool)[:room]}_{digest}"


def split(name: str) -> tuple[str, str]:
    """(server id, rest) of a federated name; ("", name) where it has no server part."""
    server, separator, rest = name.partition(SEPARATOR)
    return (server, rest) if separator and SERVER.fullmatch(server) else ("", name)


def canonical(kind: Kind, own: str) -> str:
    """The name by which something of a server is known, from the server's own name or URI for it."""
    plain = kind == "tool" and _split(own) is None
    return own if plain else f"{kind}:{own}"


def kind_of(name: str) -> Kind:
    """The kind of what is known by this name."""
    found = _split(name)
    return found[0] if found else "tool"


def own(name: str) -> str:
    """The server's own name or URI of what is known by this name."""
    found = _split(name)
    return found[1] if found else name


def _split(name: str) -> tuple[Kind, str] | None:
    head, colon, rest = name.partition(":")
    for kind in KINDS if colon else ():
        if kind == head:
            return kind, rest
    return None
