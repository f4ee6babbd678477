"""Versions of the parts of control data: one cheap query tells every process that something changed.

A version rises in the same transaction as the change, so a reader that sees the new version also sees the
change, and a change that was rolled back was never announced.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from airlock.store.schema import parts

PINS = "pins"
REVOCATIONS = "revocations"
SESSIONS = "sessions"
LEASES = "leases"
INCIDENTS = "incidents"
OUTBOX = "outbox"
GRANTS = "grants"
POLICY = "policy"
VAULT = "vault"


def versions(connection: Connection) -> dict[str, int]:
    """The version of every part."""
    return {row.part: row.version for row in connection.execute(select(parts.c.part, parts.c.version))}


class Change:
    """A transaction that may change one part. Writers of the same part run one after the other."""

    def __init__(self, connection: Connection, part: str) -> None:
        self.connection = connection
        self._part = part
        self._announced = False
        self._touch(0)  # takes the row's lock before anything is read, also where several may write at once

    def announce(self) -> None:
        """Let the others know, once, when this commits."""
        if not self._announced:
            self.advance()

    def advance(self) -> None:
        """The same with a version of its own each time, where several changes are told apart by it."""
        self._touch(1)
        self._announced = True

    def _touch(self, step: int) -> None:
        self.connection.execute(
            update(parts).where(parts.c.part == self._part).values(version=parts.c.version + step)
        )
