"""Follows the journal of one chain, record after record, never past what is durable.

While a process writes the chain, `durable` says how far its flushes reached. Once nobody holds the
chain's lock every whole record counts, because recovery will keep it; it is flushed before it is
handed on, so that the database never knows more than the disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from airlock.audit import journal
from airlock.audit.files import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airlock.audit.journal import Record

LOCKS = Path("/proc/locks")
"""Every held lock of this machine. To ask here, unlike to try the lock, disturbs no starting writer."""


def held(chain: Path) -> bool | None:
    """Whether a process writes this chain; None where that cannot be told."""
    try:
        inode = (chain / LOCK).stat().st_ino
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except FileNotFoundError as missing:
        return None if missing.filename == str(LOCKS) else False
    except (OSError, ValueError):
        return None
    # "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF": another device errs on the safe side.
    fields = [line.split() for line in lines]
    return any("FLOCK" in line and line[-3].endswith(f":{inode}") for line in fields if "->" not in line)


class Tail:
    """Where reading stands: the newest record handed on, and its end in its segment."""

    def __init__(self, chain: Path, *, after: int) -> None:
        self.chain = chain
        self.seq = after
        self._segment: Path | None = None
        self._offset = journal.HEADER
        self._seen: tuple[int, int, int] | None = None

    def records(self, until: int | None) -> Iterator[Record]:
        """Records after `seq` up to `until` (None: every whole one); raises `JournalDamaged`.

        `seq` moves as records are taken. The first one lies further on where segments are missing.
        """
        segments = journal.segments(self.chain)
        for segment, end in self._ahead(segments):
            # The newest segment is not read past `until`: what follows may not be durable yet, and looking
            # for the end of it means reading all of the segment.
            last = until if end is None else end if until is None else min(end, until)
            if segment != self._segment:
                self._segment, self._offset = segment, journal.HEADER
            for record in journal.read(segment, offset=self._offset, until=last):
                self._offset = record.end_offset
                if record.seq > self.seq:
                    self.seq = record.seq
                    yield record
            if end is None or (until is not None and until <= end):
                return
            if self.seq < end:
                what = f"ends at record {self.seq}, but record {end} was written"
                raise journal.JournalDamaged(segment, self._offset, what)

    def rewind(self, seq: int) -> None:
        """Go back: what was handed on after `seq` was not stored."""
        self.seq = seq
        self._segment = None
        self._seen = None

    def grown(self) -> bool:
        """Whether the newest segment was written to since this was asked before, or was never asked."""
        segments = journal.segments(self.chain)
        if not segments:
            return False
        found = segments[-1].stat()
        seen, self._seen = self._seen, (found.st_ino, found.st_size, found.st_mtime_ns)
        return seen != self._seen

    def flush(self) -> None:
        """Flush every segment from where reading stands; raises `OSError`."""
        for segment, _ in self._ahead(journal.segments(self.chain)):
            descriptor = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    def spent(self, seq: int) -> list[tuple[Path, int, int]]:
        """Segments wholly at or below `seq`, each with first and last number, never the newest."""
        segments = journal.segments(self.chain)
        firsts = [journal.first_seq(segment.name) for segment in segments]
        return [
            (segment, first, after - 1)
            for segment, first, after in zip(segments, firsts, firsts[1:], strict=False)
            if after - 1 <= seq
        ]

    def _ahead(self, segments: list[Path]) -> list[tuple[Path, int | None]]:
        """Segments that may hold records after `seq`, each with the last number that counts in it.

        What stands in a segment behind its successor's first number was written again there.
        """
        firsts = [journal.first_seq(segment.name) for segment in segments]
        ends: list[int | None] = [first - 1 for first in firsts[1:]]
        bounded = zip(segments, [*ends, None], strict=True)
        return [(segment, end) for segment, end in bounded if end is None or end > self.seq]
