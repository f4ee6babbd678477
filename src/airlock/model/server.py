"""MCP servers behind the gateway and what they offer, as approved by an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from airlock.core.config import ServerEntry
from airlock.mcp import names
from airlock.mcp.names import Kind
from airlock.model.upstream import KEEP_MS

Sensitivity = Literal["low", "medium", "high", "critical"]
PinState = Literal["pinned", "changed"]


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a server offers: canonical identity is (server, name, digest)."""

    server: str
    name: str
    """By which policy, pins, leases and records know it: a tool's own name, `prompt:NAME`, `resource:URI` or
    `template:URI_TEMPLATE` (`airlock.mcp.names`)."""
    kind: Kind = "tool"
    alias: str
    """Its name or URI on `/mcp`: `server__name`, shortened where MCP clients would refuse it, or
    `mcp+server:uri`."""
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
    """Why it may not be listed or called (schema out of bounds, bad header annotation)."""
    matches: Callable[[str], bool] | None = None
    """Of a template: which URIs it stands for."""

    @property
    def scope(self) -> dict[str, str]:
        """The scope object of a refusal that concerns it (MCP refusals)."""
        kind = "resource" if self.kind == "template" else self.kind
        return {"kind": kind, "server": self.server, "name": self.name}

    @property
    def own(self) -> str:
        """The server's own name or URI for it: what is forwarded."""
        return names.own(self.name) if ":" in self.name else self.name


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """What one server offers, as last read in full."""

    tools: dict[str, Item]
    """By the server's own name."""
    by_alias: dict[str, Item]
    """The same tools by their name on `/mcp`."""
    prompts: dict[str, Item] = msgspec.field(default_factory=dict[str, Item])
    prompts_by_alias: dict[str, Item] = msgspec.field(default_factory=dict[str, Item])
    resources: dict[str, Item] = msgspec.field(default_factory=dict[str, Item])
    """By the server's own URI."""
    templates: dict[str, Item] = msgspec.field(default_factory=dict[str, Item])
    """By the server's own template."""
    era: str
    """Protocol version negotiated with the server."""
    server_info: dict[str, Any]
    capabilities: dict[str, Any]
    instructions: str = ""
    keep_ms: int = KEEP_MS
    """Milliseconds for which a client may keep its lists, as it says."""
    fetched_at: float
    """Monotonic seconds."""

    def of(self, kind: Kind) -> dict[str, Item]:
        """Everything of a kind, by the server's own name or URI for it."""
        if kind == "tool":
            return self.tools
        if kind == "prompt":
            return self.prompts
        return self.resources if kind == "resource" else self.templates


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
