"""Group commit: a batch of events becomes durable, or each of them gets its honest answer.

No threads here. What happens when the disk refuses:
1. The handle is closed and never flushed again. The acknowledged end is read back from the medium.
2. The same bytes go to a fresh segment.
3. If the volume is full, the reserve is spent, and only closing records are tried once more.
4. Outcomes that still have no place go to the spool: their effect may have happened. All others fail; nothing
   was sent for them.
5. If the spool fails, or an acknowledged record is gone, this log takes nothing ever again.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from airlock.audit.chain import Draft, Sealed, Stamp
from airlock.audit.entry import SALT_SIZE, Spooled
from airlock.audit.journal import JournalDamaged
from airlock.core import clock as clocks
from airlock.core.errors import AuditFault, Effect
from airlock.core.ids import uuid7_at
from airlock.model.entry import Event, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.audit.append import Appender
    from airlock.audit.chain import Chain
    from airlock.audit.entry import Committed
    from airlock.audit.files import Directory
    from airlock.audit.room import Room
    from airlock.audit.spool import Spool
    from airlock.core.clock import Clock

EVENTS_MAX = 1_000
BYTES_MAX = 4 * 1024 * 1024
ROLL_AFTER = 60.0
"""Seconds after which a segment with records is finished, so that it can be projected and unlinked."""

_ID_SIZE = 10
_STAMP_SIZE = SALT_SIZE + _ID_SIZE
_POOL = 64

Verdict = Receipt | AuditFault


class Logger(Protocol):
    """The three levels of structlog that the log uses of itself."""

    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


class Stamps:
    """Identifiers and salts, drawn from the system's randomness in bulk: one system call for many entries."""

    def __init__(self, *, clock: Clock, random: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._random = random
        self._pool = b""
        self._wall = 0.0
        self._timestamp = ""

    def now(self) -> None:
        """All stamps until the next call carry this moment."""
        self._wall = self._clock.wall()
        self._timestamp = clocks.timestamp(self._wall)

    def next(self) -> Stamp:
        if len(self._pool) < _STAMP_SIZE:
            self._pool = self._random(_STAMP_SIZE * _POOL)
        drawn, self._pool = self._pool[:_STAMP_SIZE], self._pool[_STAMP_SIZE:]
        return Stamp(
            timestamp=self._timestamp, id=uuid7_at(self._wall, drawn[SALT_SIZE:]), salt=drawn[:SALT_SIZE]
        )


class Batch:
    """Events that share one flush, in the order of their numbers."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.events: list[Event] = []
        self.committed: list[Committed | None] = []
        self.placed: list[Sealed | AuditFault] = []

    @property
    def is_full(self) -> bool:
        return len(self.events) >= EVENTS_MAX or self.draft.size >= BYTES_MAX


def is_closing(event: Event) -> bool:
    """Closes what has begun, or is the log's own: still taken when nothing new may begin."""
    return event.phase == "outcome" or event.event_type == "system"


def fault(event: Event, detail: str) -> AuditFault:
    """What the caller must know: an outcome's effect may have happened, anything else was not sent."""
    return AuditFault(detail, effect=Effect.POSSIBLE if event.phase == "outcome" else Effect.NONE)


class GroupCommit:
    """The one writer of one chain. Used by one thread."""

    def __init__(
        self,
        *,
        chain: Chain,
        directory: Directory,
        appender: Appender,
        spool: Spool,
        room: Room,
        clock: Clock,
        random: Callable[[int], bytes],
        log: Logger,
    ) -> None:
        self.chain = chain
        self.room = room
        self.spool = spool
        self._directory = directory
        self._appender = appender
        self._clock = clock
        self._stamps = Stamps(clock=clock, random=random)
        self._log = log
        self._rolled = clock.monotonic()
        self.trouble = ""
        """Why the last write failed; empty once one succeeded."""
        self.failure = ""
        """Why this log takes nothing ever again."""

    def begin(self) -> Batch:
        self.look()
        self._stamps.now()
        return Batch(self.chain.draft())

    def look(self) -> None:
        """See how much room is left on the volume, and tell the operator when that changes."""
        before = self.room.low, self.room.starved
        self.room.look(self._clock.monotonic())
        if (self.room.low, self.room.starved) != before:
            say = self._log.error if self.room.starved else self._log.warning
            say("audit_storage", below_10_percent=self.room.low, refusing=self.room.starved)

    def add(self, batch: Batch, event: Event, committed: Committed | None = None) -> None:
        """Give the event its place in the batch, or its refusal."""
        batch.events.append(event)
        batch.committed.append(committed)
        if self.failure or (self.room.starved and not is_closing(event)):
            batch.placed.append(fault(event, self.failure or "less than 2 % of the volume is free"))
            return
        try:
            batch.placed.append(batch.draft.append(event, self._stamps.next(), committed))
        except ValueError as error:
            self._log.error("audit_event_malformed", action=event.action, error=str(error))
            refusal = fault(event, f"malformed event: {error}")
            refusal.__cause__ = error
            batch.placed.append(refusal)

    def finish(self, batch: Batch) -> list[Verdict]:
        """Make the batch durable; one verdict per event, in order."""
        error = self._write(batch.draft)
        if error is not None:
            return self._salvage(batch, error)
        self.drain()
        return [
            each if isinstance(each, AuditFault) else receipt(self.chain.uid, each) for each in batch.placed
        ]

    def drain(self) -> None:
        """Move what waits in the spool into the chain, now that the journal takes records again."""
        if self.spool.entries and self.adopt(self.spool.entries):
            try:
                # Crash before this is done: recovery finds the entries in the journal by their first ids.
                self.spool.clear()
            except OSError as error:
                self.failure = f"the spool cannot be emptied: {error}"

    def adopt(self, spooled: list[Spooled]) -> bool:
        """Seal entries that could not be written when they happened. False: still not."""
        self._stamps.now()
        draft = self.chain.draft()
        for each in spooled:
            draft.append_late(each, self._stamps.next())
        return self._write(draft) is None and not self.failure

    def mend(self) -> None:
        """After trouble, and with nothing to write: see whether the disk obeys again."""
        if self.trouble and not self.failure:
            try:
                self._appender.roll(self.chain)
            except OSError as error:
                self._appender.abandon()
                self.trouble = str(error)
                return
            self.trouble = ""
            self.drain()

    def append_all(self, events: list[tuple[Event, Committed | None]]) -> list[Receipt]:
        """Seal these now, in several batches if need be. Raises the AuditFault of the first that fails."""
        receipts: list[Receipt] = []
        while len(receipts) < len(events):
            batch = self.begin()
            for event, committed in events[len(receipts) :]:
                self.add(batch, event, committed)
                if batch.is_full:
                    break
            for verdict in self.finish(batch):
                if isinstance(verdict, AuditFault):
                    raise verdict
                receipts.append(verdict)
        return receipts

    def roll_if_old(self) -> None:
        """Finish a segment that has held records for a while, so that personal data does not linger in it."""
        now = self._clock.monotonic()
        if not self._appender.records or now - self._rolled < ROLL_AFTER:
            return
        self._rolled = now
        if self.trouble or self.failure or self.room.starved:
            return
        try:
            self._appender.roll(self.chain)
        except OSError as error:
            self._appender.abandon()
            self.trouble = str(error)

    def close(self) -> None:
        self._appender.close()
        self.spool.close()
        self._directory.close()

    def _write(self, draft: Draft) -> OSError | None:
        """Append and flush, if need be once more on a fresh segment. None: durable."""
        if not draft.sealed or self.failure:
            return None
        try:
            try:
                self._appender.append(self.chain, draft)
            except OSError as error:
                self._log.error("audit_flush_failed", error=str(error), first_seq=draft.base + 1)
                self._appender.abandon()
                self._appender.verify(self.chain)
                self._appender.append(self.chain, draft)
        except OSError as error:
            self._appender.abandon()
            self.trouble = str(error)
            return error
        except JournalDamaged as error:
            self.failure = str(error)
            return OSError(errno.EIO, self.failure)
        self.chain.accept(draft)
        self._directory.publish(self.chain.seq)
        self.trouble = ""
        return None

    def _salvage(self, batch: Batch, error: OSError) -> list[Verdict]:
        """The batch has no place in the journal: close what has begun, refuse the rest."""
        if error.errno in {errno.ENOSPC, errno.EDQUOT} and not self.room.starved:
            self.room.spend()
            again = Batch(self.chain.draft())
            # From here on `add` refuses all but closing records.
            for event, committed in zip(batch.events, batch.committed, strict=True):
                self.add(again, event, committed)
            return self.finish(again)
        self._keep_outcomes(batch)
        return [
            each if isinstance(each, AuditFault) else fault(event, str(error))
            for event, each in zip(batch.events, batch.placed, strict=True)
        ]

    def _keep_outcomes(self, batch: Batch) -> None:
        outcomes = [
            placed
            for event, placed in zip(batch.events, batch.placed, strict=True)
            if event.phase == "outcome" and isinstance(placed, Sealed)
        ]
        try:
            if outcomes:
                self.spool.put(outcomes)
                self._log.error("audit_spooled", outcomes=len(outcomes), reason=self.trouble)
        except OSError as error:
            self.failure = f"neither journal nor spool takes records: {self.trouble}; {error}"


def receipt(chain_uid: str, sealed: Sealed) -> Receipt:
    return Receipt(chain_uid=chain_uid, seq=sealed.seq, id=sealed.id, hash=sealed.hash)
