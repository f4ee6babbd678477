"""MCP servers behind the gateway and their tools, as approved by an operator."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from airlock.core.config import ServerEntry

Sensitivity = Literal["low", "medium", "high", "critical"]
PinState = Literal["pinned", "changed"]


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """One tool of one server: canonical identity is (server, name, digest)."""

    server: str
    name: str
    """The server's own name for it; what is forwarded and recorded."""
    alias: str
    """Its name on `/mcp`: `server__name`, shortened where MCP clients would refuse it."""
    definition: dict[str, Any]
    """As the server sent it, structurally unchanged."""
    digest: str
    """SHA-256 over the RFC 8785 form of the whole definition, hex."""
    sensitivity: Sensitivity
    read_only: bool
    tenant: str = ""
    """Owner; empty: every tenant."""
    tags: tuple[str, ...] = ()
    owner: str = ""
    pin: PinState = "pinned"
    """`changed`: the definition differs from the pinned digest and is refused until approved."""
    param_headers: tuple[tuple[tuple[str, ...], str], ...] = ()
    """(property path, header token) of each `x-mcp-header` annotation."""
    defect: str = ""
    """Why this tool may not be listed or called (schema out of bounds, bad header annotation)."""


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """What one server offers, as last read in full."""

    tools: dict[str, Tool]
    """By the server's own name."""
    by_alias: dict[str, Tool]
    era: str
    """Protocol version negotiated with the server."""
    server_info: dict[str, Any]
    capabilities: dict[str, Any]
    instructions: str = ""
    fetched_at: float
    """Monotonic seconds."""


class RegisteredServer(msgspec.Struct, frozen=True, kw_only=True):
    """A configured server and what is known of it now."""

    entry: ServerEntry
    catalog: Catalog | None = None
    state: Literal["cold", "ready", "stale", "down"] = "cold"
    reason: str = ""


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """The part `registry` of a snapshot."""

    servers: dict[str, RegisteredServer]
    version: int = 0
