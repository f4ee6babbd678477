"""Where outcomes wait that the journal could not take: their effect has happened, so they must not be lost.

A preallocated file of journal records without numbers of their own; a restart, or the first batch that the
journal takes again, moves them into the chain as late entries. Emptying it overwrites what it held.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from airlock.audit import journal
from airlock.audit.entry import Spooled

if TYPE_CHECKING:
    from airlock.audit.chain import Sealed
    from airlock.audit.files import Directory, Handle

NAME = "spool"
SIZE_MAX = 8 * 1024 * 1024
"""Bytes; several thousand outcomes, more than a full queue holds."""


class Spool:
    """One chain's spool. Used by one thread; every method raises OSError where the disk does not obey."""

    def __init__(self, *, directory: Directory, size: int) -> None:
        self._directory = directory
        self._size = min(size, SIZE_MAX)
        self._handle: Handle | None = None
        self._end = 0
        self.entries: list[Spooled] = []
        """What waits, oldest first."""

    def open(self) -> None:
        """Read what an earlier run left, or reserve the room."""
        if NAME in self._directory.names():
            raw = self._directory.read(NAME)
            found = journal.frames(raw)
            self.entries = [Spooled.parse(entry, personal) for entry, personal in found]
            self._end = sum(len(journal.frame(entry, personal)) for entry, personal in found)
            self._size = len(raw)
            self._handle = self._directory.open(NAME)
        else:
            self._handle = self._directory.create(NAME, self._size)
            self._handle.flush()
            self._directory.sync()

    def put(self, sealed: list[Sealed]) -> None:
        """Make these durable here. After an error the spool is of no further use."""
        data = b"".join(journal.frame(each.entry, each.personal) for each in sealed)
        if self._handle is None or self._end + len(data) > self._size:
            raise OSError(errno.ENOSPC, "the spool is full or lost")
        try:
            self._handle.write(self._end, data)
            self._handle.flush()
        except OSError:
            self.close()
            raise
        self._end += len(data)
        self.entries += [Spooled.parse(each.entry, each.personal) for each in sealed]

    def clear(self) -> None:
        """All entries are in the journal: overwrite them."""
        if self._handle is None or not self._end:
            return
        self._handle.write(0, bytes(self._end))
        self._handle.flush()
        self._end = 0
        self.entries = []

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None
