"""What the lives of a stdio server have in common: how long they may take, for whom, and the log."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from airlock.upstream.restarts import Restarts
from airlock.upstream.spawn import Grace

State = Literal["starting", "ready", "waiting", "failed", "refused", "stopped"]


class Log(Protocol):
    """As much of a structlog logger as this room uses."""

    def info(self, event: str, **fields: Any) -> object: ...
    def warning(self, event: str, **fields: Any) -> object: ...


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Every duration of a stdio server's life, seconds."""

    probe: float = 3.0
    """Wait for the answer to `server/discover` before `initialize` is tried."""
    start: float = 60.0
    """Wait for the answer to `initialize`: a package runner may have to download first."""
    patience: float = 5.0
    """How long a server may leave its input unread."""
    grace: Grace = Grace()
    restarts: Restarts = Restarts()
    coalesce: float = 1.0
    """Least time between two announcements of changed lists."""
    idle: float = 900.0
    """Without a call for so long, the process of one owner is stopped."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """For whom alone a process runs."""

    key: str
    """The principal, and where it is a client's session, a NUL and that session."""
    capabilities: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What a legacy server hears that its client can do."""
