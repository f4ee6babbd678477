"""How a process takes over an audit chain: nothing acknowledged is lost, nothing is repaired silently.

The order of `open_log`, for one chain:
1. Lock a chain that nobody holds, or make one.
2. Read its journal from the medium; a torn end is dropped, other damage stops the start.
3. Compare with what the database knows. If they disagree, or the chain came out of a backup, it is never
   extended: a new one begins, names its predecessor, and the alarm is its first entry.
4. Move spooled outcomes into the chain, close the intents that nobody closed, then `process_start`.
A crash on the way is met by the same procedure at the next start.
"""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING, Any

import msgspec

from airlock.audit import journal
from airlock.audit.append import Appender
from airlock.audit.chain import Chain
from airlock.audit.commit import GroupCommit
from airlock.audit.entry import SALT_SIZE
from airlock.audit.files import LocalVolume
from airlock.audit.occurrences import Facts, Predecessor, chain_open, outcome_unknown, process_start, system
from airlock.audit.room import Room, segment_size
from airlock.audit.spool import Spool
from airlock.audit.survey import Seen, Survey, Watermark, survey
from airlock.audit.watermark import watermark
from airlock.audit.writer import Writer
from airlock.core.errors import AuditFault
from airlock.core.ids import uuid7_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airlock.audit.commit import Logger
    from airlock.audit.files import Directory, Volume
    from airlock.core.clock import Clock
    from airlock.core.config import AuditSection
    from airlock.model.entry import Event

ATTEMPTS = 64
"""Chains that may be lost to other workers while one is made: as many as there can be workers."""


def open_log(
    *, data_dir: Path, audit: AuditSection, workers: int, facts: Facts, clock: Clock, log: Logger
) -> Writer:
    """The audit log of this worker, recovered and open; `start` it, then `seal`.

    Raises AuditFault where nothing can be recorded, JournalDamaged where the journal was tampered with.
    """
    recovery = Recovery.local(
        data_dir=data_dir, audit=audit, workers=workers, facts=facts, clock=clock, log=log
    )
    return Writer(commit=recovery.open(), clock=clock, log=log, linger_ms=audit.linger_ms)


def retire(
    *, data_dir: Path, audit: AuditSection, workers: int, facts: Facts, clock: Clock, log: Logger
) -> list[str]:
    """Close the chains that an earlier run with more workers left behind; call it before any worker starts.

    Keeps the `workers` oldest chains. Returns the uids of the closed ones.
    """
    recovery = Recovery.local(
        data_dir=data_dir, audit=audit, workers=workers, facts=facts, clock=clock, log=log
    )
    return recovery.retire(keep=workers)


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A locked chain and all that is known of it."""

    directory: Directory
    spool: Spool
    survey: Survey
    head: Watermark | None


class Recovery:
    """Takes chains over. One instance per start of a process."""

    def __init__(
        self,
        *,
        volume: Volume,
        heads: Callable[[str], Watermark | None],
        segment_size: int,
        workers: int,
        facts: Facts,
        clock: Clock,
        random: Callable[[int], bytes],
        log: Logger,
    ) -> None:
        self._volume = volume
        self._heads = heads
        self._segment_size = segment_size
        self._workers = workers
        self._facts = facts
        self._clock = clock
        self._random = random
        self._log = log

    @classmethod
    def local(
        cls, *, data_dir: Path, audit: AuditSection, workers: int, facts: Facts, clock: Clock, log: Logger
    ) -> Recovery:
        """On the disk and with the database of this machine."""
        database = data_dir / "audit.db"
        return cls(
            volume=LocalVolume(data_dir / "journal"),
            heads=lambda uid: watermark(database, uid),
            segment_size=audit.segment_size,
            workers=workers,
            facts=facts,
            clock=clock,
            random=urandom,
            log=log,
        )

    def open(self) -> GroupCommit:
        """A chain that this process may extend, with everything of its past put in order."""
        try:
            directory = self._lock_one() or self._create()
            return self._resume(directory, lambda counts: process_start(self._facts, counts))
        except OSError as error:
            raise AuditFault(f"the journal cannot be opened: {error}") from error

    def retire(self, *, keep: int) -> list[str]:
        """Close all chains but the `keep` oldest. Those that another process holds stay."""
        retired: list[str] = []
        try:
            for name in self._open_names()[keep:]:
                directory = self._lock(name)
                if directory is not None:
                    retired.append(self._retire(directory))
        except OSError as error:
            raise AuditFault(f"a chain cannot be closed: {error}") from error
        return retired

    def _retire(self, directory: Directory) -> str:
        commit = self._resume(directory, lambda counts: system("chain_close", counts, reason="retired"))
        uid = commit.chain.uid
        commit.room.spend()
        # Crash before the next line: the chain is resumed and says so, or is closed once more.
        _mark_closed(self._volume.directory(uid), "retired")
        commit.close()
        return uid

    def _open_names(self) -> list[str]:
        names: list[str] = []
        for name in self._volume.names():
            directory = self._volume.directory(name)
            if journal.CLOSED not in directory.names():
                names.append(name)
            directory.close()
        return names

    def _lock_one(self) -> Directory | None:
        for name in self._open_names():
            directory = self._lock(name)
            if directory is not None:
                return directory
        return None

    def _lock(self, name: str) -> Directory | None:
        directory = self._volume.directory(name)
        if directory.lock():
            return directory
        directory.close()
        return None

    def _create(self) -> Directory:
        """A chain of our own. Another worker that looks for one may take it as soon as it is there: then that
        one is served, and we make the next."""
        for _ in range(ATTEMPTS):
            directory = self._volume.directory(uuid7_at(self._clock.wall(), self._random(10)))
            if directory.lock():
                return directory
            directory.close()
        raise AuditFault(f"{ATTEMPTS} chains were taken while they were made")

    def _resume(self, directory: Directory, last: Callable[[dict[str, Any]], Event]) -> GroupCommit:
        """Steps 2 to 4 for a locked chain; `last` makes the event at the end from the counts of step 4."""
        try:
            taken = self._take(directory)
            refusal = _copied(directory) or taken.survey.refusal(taken.head)
            if refusal:
                return self._succeed(taken, refusal, last)
            commit = self._commit(taken)
            if commit.chain.seq == 0:
                salt = self._random(SALT_SIZE)
                commit.append_all([chain_open(self._facts, commit.chain.uid, salt)])
            directory.publish(commit.chain.seq)
            self._settle(commit, taken, last)
            return commit
        except BaseException:
            directory.close()
            raise

    def _take(self, directory: Directory) -> Taken:
        spool = Spool(directory=directory, size=self._size(directory))
        spool.open()
        found = survey(directory, wanted={each.id for each in spool.entries}, log=self._log)
        # The database is asked last: until now the projector may have moved records there.
        return Taken(directory=directory, spool=spool, survey=found, head=self._heads(directory.name))

    def _succeed(self, taken: Taken, refusal: str, last: Callable[[dict[str, Any]], Event]) -> GroupCommit:
        """Begin a new chain instead of `taken`, which stays as it is for those who investigate."""
        known = taken.head or Watermark(seq=0, hash=None)
        ahead = taken.survey if taken.survey.seq > known.seq else known
        predecessor = Predecessor(chain_uid=taken.directory.name, seq=ahead.seq, hash=ahead.hash)
        self._log.error("audit_chain_abandoned", chain_uid=taken.directory.name, reason=refusal)
        successor = self._take(self._create())
        commit = self._commit(successor)
        why, salt = f"chain_abandoned: {refusal}", self._random(SALT_SIZE)
        commit.append_all([chain_open(self._facts, commit.chain.uid, salt, predecessor, why)])
        self._settle(commit, taken, last)
        # Crash before this line: the old chain is refused again, by one more successor that names it.
        _mark_closed(taken.directory, f"abandoned for {commit.chain.uid}: {refusal}")
        taken.spool.close()
        taken.directory.close()
        return commit

    def _settle(self, commit: GroupCommit, taken: Taken, last: Callable[[dict[str, Any]], Event]) -> None:
        """Late outcomes, then unknown ones, then the event that ends recovery."""
        late = [each for each in taken.spool.entries if each.id not in taken.survey.spooled]
        if late and not commit.adopt(late):
            raise AuditFault(f"{len(late)} spooled outcomes cannot be recorded: {commit.trouble}")
        taken.spool.clear()
        closed = {msgspec.convert(each.members, Seen).call for each in late}
        dangling = taken.survey.dangling(taken.head, closed)
        commit.append_all([(outcome_unknown(intent), None) for intent in dangling])
        counts = {"late_outcomes": len(late), "unknown_outcomes": len(dangling)}
        commit.append_all([(last(counts), None)])

    def _commit(self, taken: Taken) -> GroupCommit:
        directory, found = taken.directory, taken.survey
        size = self._size(directory)
        room = Room(directory=directory, reserve=size)
        room.hold()
        room.look(self._clock.monotonic())
        counters = dict(taken.head.tenants) if taken.head else {}
        for tenant, last in found.tenants.items():
            counters[tenant] = max(last, counters.get(tenant, 0))
        return GroupCommit(
            chain=Chain(uid=directory.name, seq=found.seq, hash=found.hash, tenants=counters),
            directory=directory,
            appender=Appender(directory=directory, segment_size=size),
            spool=taken.spool,
            room=room,
            clock=self._clock,
            random=self._random,
            log=self._log,
        )

    def _size(self, directory: Directory) -> int:
        return segment_size(self._segment_size, directory.space().total, self._workers)


def _copied(directory: Directory) -> str:
    """Why a chain out of a backup is not extended: its original was, after the same last record."""
    if journal.COPIED not in directory.names():
        return ""
    return f"restored from a backup made at {directory.read(journal.COPIED).decode('utf-8', 'replace')}"


def _mark_closed(directory: Directory, why: str) -> None:
    """Durably: nobody extends this chain again."""
    text = why.encode()
    handle = directory.create(journal.CLOSED, len(text))
    try:
        handle.write(0, text)
        handle.flush()
    finally:
        handle.close()
    directory.sync()
