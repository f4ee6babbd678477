"""What a chain's journal holds when a process takes it over, and whether it may be extended.

Reads every segment from the medium and checks every checksum, number and link. A torn end that nobody was
told of is cut off; anything else that is wrong raises JournalDamaged and stops the start.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from airlock.audit import journal
from airlock.audit.append import FRESH
from airlock.audit.entry import entry_hash
from airlock.audit.journal import JournalDamaged
from airlock.audit.occurrences import Whole

if TYPE_CHECKING:
    from airlock.audit.commit import Logger
    from airlock.audit.files import Directory
    from airlock.audit.journal import Record


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """What the database knows of a chain. All of it was durable in the journal before."""

    seq: int
    hash: str | None
    tenants: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    open_intents: tuple[Whole, ...] = ()
    """Intents of the last run without an outcome."""


class _Metadata(msgspec.Struct, frozen=True):
    spooled_id: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What recovery reads in an entry."""

    seq: int
    previous_hash: str | None
    id: str
    phase: str
    action: str
    correlation_id: str = ""
    tenant: str = ""
    tenant_seq: int = 0
    metadata: _Metadata = _Metadata()

    @property
    def call(self) -> tuple[str, str]:
        """What an intent and its outcome have in common."""
        return self.correlation_id, self.action


SEEN = msgspec.json.Decoder(Seen)


class Survey:
    """The state of one chain after its last record. `present` is False for a directory without segments."""

    def __init__(self) -> None:
        self.present = False
        self.first_seq: int = 1
        self.seq: int = 0
        self.hash: str | None = None
        self.before: str | None = None
        """Hash in front of `first_seq`."""
        self.tenants: dict[str, int] = {}
        self.intents: dict[tuple[str, str], Whole] = {}
        self.outcomes: set[tuple[str, str]] = set()
        self.spooled: set[str] = set()
        """First ids of late entries, and ids of the entries that were looked for."""
        self._hashes = bytearray()

    def hash_at(self, seq: int) -> str | None:
        """Hash of record `seq`, where the journal still knows it."""
        if seq == self.first_seq - 1:
            return self.before
        start = (seq - self.first_seq) * 32
        return self._hashes[start : start + 32].hex() or None

    def refusal(self, head: Watermark | None) -> str:
        """Why this chain must not be extended, given what the database knows of it. Empty: it may."""
        known = head or Watermark(seq=0, hash=None)
        if not self.present:
            return f"the journal is gone, the database knows {known.seq} records" if known.seq else ""
        if known.seq > self.seq:
            return f"the journal ends at record {self.seq}, the database knows {known.seq}"
        if known.seq < self.first_seq - 1:
            return f"the database ends at record {known.seq}, the journal begins at {self.first_seq}"
        if self.hash_at(known.seq) != known.hash:
            return f"record {known.seq} has another hash in the database than in the journal"
        return ""

    def dangling(self, head: Watermark | None, closed: set[tuple[str, str]]) -> list[Whole]:
        """Intents that neither the journal nor the database nor `closed` has an outcome for."""
        found = {SEEN.decode(intent.entry).call: intent for intent in (head.open_intents if head else ())}
        found.update(self.intents)
        return [intent for call, intent in found.items() if call not in self.outcomes | closed]

    def take(self, record: Record, where: str, wanted: set[str]) -> None:
        """Account for the next record."""
        try:
            seen = SEEN.decode(record.entry)
        except msgspec.MsgspecError as error:
            raise JournalDamaged(where, record.end_offset, f"not an entry: {error}") from error
        if seen.seq != self.seq + 1 or seen.previous_hash != self.hash:
            raise JournalDamaged(
                where, record.end_offset, f"record {seen.seq} does not follow the one before"
            )
        self.seq, self.hash = seen.seq, entry_hash(record.entry)
        self._hashes += bytes.fromhex(self.hash)
        if seen.tenant:
            self.tenants[seen.tenant] = seen.tenant_seq
        if seen.phase == "intent":
            self.intents[seen.call] = Whole(entry=record.entry, personal=record.personal)
        elif seen.phase == "outcome":
            self.outcomes.add(seen.call)
        self.spooled |= {seen.id, seen.metadata.spooled_id} & wanted


def survey(directory: Directory, *, wanted: set[str], log: Logger) -> Survey:
    """Read the whole journal of a chain. `wanted` are ids of spooled entries to look out for."""
    found = Survey()
    names = journal.segment_names(directory.names())
    with suppress(OSError):
        directory.remove(FRESH)
    for name, following in zip(names, [*names[1:], None], strict=False):
        last = None if following is None else journal.first_seq(following) - 1
        end = _take_segment(directory, name, last=last, found=found, wanted=wanted)
        if last is None:
            _cut_off(directory, name, end, log)
    return found


def _take_segment(
    directory: Directory, name: str, *, last: int | None, found: Survey, wanted: set[str]
) -> int:
    """Account for one segment, up to record `last` where a newer segment follows. Returns where it ends."""
    where = f"{directory.name}/{name}"
    raw = directory.read(name)
    head = journal.parse_header(raw, where)
    if not found.present:
        found.present, found.first_seq, found.before = True, head.first_seq, head.previous_hash
        found.seq, found.hash = head.first_seq - 1, head.previous_hash
    if head.chain_uid != directory.name or head.first_seq != journal.first_seq(name):
        raise JournalDamaged(where, 0, f"this is segment {head.first_seq} of chain {head.chain_uid}")
    if (found.seq, found.hash) != (head.first_seq - 1, head.previous_hash):
        raise JournalDamaged(where, 0, f"it does not follow record {found.seq}")
    end = journal.HEADER
    for record in journal.records(io.BytesIO(raw), where, until=last):
        found.take(record, where, wanted)
        end = record.end_offset
    if last is not None and found.seq < last:
        raise JournalDamaged(where, end, f"ends at record {found.seq}, but record {last} was written")
    return end


def _cut_off(directory: Directory, name: str, end: int, log: Logger) -> None:
    """Drop the torn end, and give the unused part of the segment back: the next record opens a fresh one."""
    if directory.read(name)[end:].strip(b"\0"):
        log.warning("audit_torn_tail", chain_uid=directory.name, segment=name, offset=end)
    with suppress(OSError):
        handle = directory.open(name)
        try:
            handle.truncate(end)
        finally:
            handle.close()
