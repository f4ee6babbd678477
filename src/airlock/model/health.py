"""What is known of a part of the system: the values behind `/ready`, `/health` and `airlock status`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

State = Literal["ok", "degraded", "failed"]


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One part. `failed` means that no call may be served; `degraded` that calls are still safe."""

    state: State = "ok"
    reason: str = ""
    since: str = ""
    """RFC 3339, UTC."""


class Health(msgspec.Struct, kw_only=True):
    """The components of one process, each with the moment of its last change of state."""

    components: dict[str, Component]
    failed: frozenset[str] = frozenset()
    """The names of those that failed: every call asks, and `set` alone changes it."""

    def __post_init__(self) -> None:
        self.failed = frozenset(name for name, part in self.components.items() if part.state == "failed")

    def set(self, name: str, state: State, reason: str, now: str) -> bool:
        """Note a state; True if it is a change."""
        before = self.components.get(name)
        if before is not None and (before.state, before.reason) == (state, reason):
            return False
        since = before.since if before is not None and before.state == state else now
        self.components[name] = Component(state=state, reason=reason, since=since)
        self.failed = self.failed | {name} if state == "failed" else self.failed - {name}
        return True

    @property
    def ready(self) -> bool:
        return not self.failed

    @property
    def degraded(self) -> bool:
        return any(component.state != "ok" for component in self.components.values())

    def why_not(self, *, besides: Collection[str] = ()) -> str:
        """The reasons for not being ready, in one line, leaving components out."""
        if not self.failed:
            return ""
        return "; ".join(
            f"{name}: {part.reason}"
            for name, part in self.components.items()
            if name in self.failed and name not in besides
        )


COMPONENTS = ("config", "policy", "audit", "auth", "database", "upstreams", "clock")
"""The final map: every answer of `/ready` has all of them."""


ServiceState = Literal["UP", "DEGRADED", "DOWN", ""]


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """How the whole gateway stands, as somebody outside sees it. An empty state: that is not known."""

    state: ServiceState = ""
    reasons: tuple[str, ...] = ()
