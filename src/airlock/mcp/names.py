"""Names on the federated route: `server__tool`.

A server id has no underscore, so the first `__` always splits.
"""

from __future__ import annotations

import hashlib
import re

SERVER = re.compile(r"[a-z][a-z0-9-]{0,30}")
"""A server id; use `fullmatch`."""

SEPARATOR = "__"

FIND = "airlock__find_tools"
"""The gateway's own tool, where it offers one."""

MAX_NAME = 128
"""Longest tool name that MCP clients are expected to accept (MCP 2025-11-25, tool names)."""

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_OTHER = re.compile(r"[^A-Za-z0-9_.-]")
_DIGEST = 8


def alias(server: str, tool: str) -> str:
    """The federated name of a tool; one that clients would refuse is cleaned, cut and given a digest."""
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
