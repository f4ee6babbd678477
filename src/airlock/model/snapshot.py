"""The one thing that the request path reads: an immutable, versioned picture of everything that can change.

It is made of parts that are swapped one by one, so that one new block never rebuilds 100,000 tools.
A stage takes the snapshot once per call; every decision records the versions of its parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from airlock.model.containment import Leases
from airlock.model.grant import Grants
from airlock.model.server import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Revocations(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials and sessions that count no more. Filled by containment leases and by session ends."""

    token_ids: frozenset[str] = frozenset()
    subjects: frozenset[tuple[str, str, str]] = frozenset()
    """(tenant, issuer, subject)."""
    sessions: frozenset[str] = frozenset()
    version: int = 0


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Verification keys by issuer, then by `kid`: (algorithm, key object of the JOSE library)."""

    issuers: Mapping[str, Mapping[str, tuple[str, Any]]] = msgspec.field(default_factory=dict[str, Any])
    version: int = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent set of parts. `policy_revision` names the bundle that the engine beside it runs."""

    registry: Registry
    policy_revision: str
    leases: Leases = Leases()
    grants: Grants = Grants()
    keys: Keys = Keys()
    revocations: Revocations = Revocations()


class Current:
    """Holds the current snapshot of one process. Swapping is one reference assignment on the event loop."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.told: list[Callable[[], None]] = []
        """Called after every swap, with the new snapshot in place."""

    def get(self) -> Snapshot:
        return self._snapshot

    def swap(self, **parts: object) -> Snapshot:
        """Replace the named parts, keep the others."""
        self._snapshot = msgspec.structs.replace(self._snapshot, **parts)
        for tell in self.told:
            tell()
        return self._snapshot
