"""The growing end of a journal: batches in, durable records out.

Invariants: `append` returns only when the batch is on the medium and its segment is in the directory. A
segment gets its name only after its header was flushed. After any OSError the handle is never used again:
`abandon`, then the next `append` begins a fresh segment at its own first number, which supersedes whatever
the old one holds from there on.
"""

from __future__ import annotations

import io
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from airlock.audit import entry as form
from airlock.audit import journal

if TYPE_CHECKING:
    from airlock.audit.chain import Chain, Draft
    from airlock.audit.files import Directory, Handle

FRESH = journal.SUFFIX + ".new"

AHEAD = 256 * 1024
"""Bytes behind a batch that are written with it, as the zeros that they are: room for a hundred records."""


class Appender:
    """Writes one chain's newest segment. Used by one thread."""

    def __init__(self, *, directory: Directory, segment_size: int) -> None:
        self._directory = directory
        self._segment_size = segment_size
        self._handle: Handle | None = None
        self._name = ""
        self._capacity = 0
        self._end = 0
        self._written = 0
        self._doubtful = False
        """Whether a write to the newest segment failed since it was last read back."""
        self.records = 0
        """Records in the open segment."""

    def append(self, chain: Chain, draft: Draft) -> None:
        """Write a draft of `chain` and flush it. Raises OSError; then `abandon`, nothing else."""
        data = journal.batch(draft.sealed)
        if self._handle is None or self._end + len(data) > self._capacity:
            handle = self.roll(chain, room=len(data))
        else:
            handle = self._handle
        handle.write(self._end, data + self._ahead(self._end + len(data)))
        handle.flush()
        self._end += len(data)
        self.records += len(draft.sealed)

    def _ahead(self, end: int) -> bytes:
        """Zeros behind a batch that reaches where nothing was written yet.

        Blocks that were only reserved are made readable by their first flush, which costs the file system a
        commit of its own journal. So that is done for many batches at once.
        """
        if end <= self._written:
            return b""
        self._written = min(self._capacity, end + AHEAD)
        return bytes(self._written - end)

    def roll(self, chain: Chain, *, room: int = 0) -> Handle:
        """Begin a new segment behind the head of `chain`, with at least `room` bytes; finish the old one."""
        size = max(self._segment_size, journal.HEADER + room)
        name = journal.segment_name(chain.seq + 1)
        fresh = self._directory.create(FRESH, size)
        try:
            head = journal.Header(chain_uid=chain.uid, first_seq=chain.seq + 1, previous_hash=chain.hash)
            fresh.write(0, journal.header(head))
            fresh.flush()
            # Crash before the next line: a file that recovery removes. After it: an empty segment, or none.
            self._directory.rename(FRESH, name)
            self._directory.sync()
        except OSError:
            fresh.close()
            raise
        self.close()
        self._handle, self._name, self._capacity = fresh, name, size
        self._end = self._written = journal.HEADER
        self.records = 0
        return fresh

    def abandon(self) -> None:
        """The last write or flush failed: give the handle back and forget it."""
        if self._handle is not None:
            self._handle.close()
            self._doubtful = True
        self._handle = None

    def verify(self, chain: Chain) -> None:
        """Read the abandoned segment back from the medium: the head of `chain` must be in it, unchanged.

        Raises OSError if it cannot be read, JournalDamaged if an acknowledged record is gone. Once is enough:
        nothing writes to it any more, and a disk that takes nothing for hours is not read all the while.
        """
        if not self._doubtful:
            return
        if not self._name or chain.seq < journal.first_seq(self._name):
            return  # nothing in this segment was ever acknowledged
        stream = io.BytesIO(self._directory.read(self._name))
        found = list(deque(journal.records(stream, self._name, until=chain.seq), maxlen=1))
        if [(last.seq, form.entry_hash(last.entry)) for last in found] != [(chain.seq, chain.hash)]:
            raise journal.JournalDamaged(self._name, 0, f"record {chain.seq} was durable and is gone")
        self._doubtful = False

    def close(self) -> None:
        """Give the unused part of the open segment back to the disk. All in it is durable."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        with suppress(OSError):
            handle.truncate(self._end)
        handle.close()
