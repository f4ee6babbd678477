"""The journal's format and how to read it, on a live journal too.

A chain's directory holds `{first_seq:020}.seg`. A segment is a 128-byte header and frames, then zeros:
- batch mark: 0xFFFFFFFF, "BTCH", u64 first seq, CRC-32C. Written at the start of every group commit.
- record: u32 entry length, u32 personal length, CRC-32C over both lengths and both bodies, entry, personal.
All little endian. Bodies are UTF-8, so no body contains the first bytes of a mark.

A batch is written only after the one before it was flushed. So a bad record with a later mark behind it was
acknowledged: that is damage. Without one it is the torn end of a write that nobody was told of.
A segment ends where the next one begins: after a failed flush the same numbers are written to a fresh one.
"""

from __future__ import annotations

import io
import re
import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec

from airlock.audit.crc32c import crc32c
from airlock.core.errors import AuditFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airlock.audit.chain import Sealed

HEADER = 128
SUFFIX = ".seg"
DURABLE = "durable"
CLOSED = "closed"
"""Marks a chain that nobody may extend: closed in order, or abandoned for a successor."""
COPIED = "copied"
"""Marks a chain in a backup, with the moment of the backup: the original went on, so this one never does."""
RECORD_MAX = 16 * 1024 * 1024
"""Bytes of both bodies; a length beyond it is damage, not a record."""

_MAGIC = b"AIRLOCK1"
_HEAD = struct.Struct("<8s36sQ?32s")
_CRC = struct.Struct("<I")
_LENGTHS = struct.Struct("<II")
_FRAME = struct.Struct("<III")
_MARK = struct.Struct("<I4sQ")
_MARK_SIZE = _MARK.size + _CRC.size
_MARK_LENGTH = 0xFFFF_FFFF
_MARK_BYTES = b"\xff\xff\xff\xffBTCH"
_CHAIN_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEGMENT_NAME = re.compile(r"[0-9]{20}\.seg")


class JournalDamaged(AuditFault):
    """The journal is not as it was written, and not for want of power: tampering or loss. Stops the start."""

    def __init__(self, path: Path | str, offset: int, what: str) -> None:
        super().__init__(f"{path} at byte {offset}: {what}")
        self.path = path
        self.offset = offset
        self.what = what


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment says of itself: whose records follow, from which number, after which hash."""

    chain_uid: str
    first_seq: int
    previous_hash: str | None


class Record(NamedTuple):
    """One record; `end_offset` is where the next frame of its segment begins."""

    seq: int
    entry: bytes
    personal: bytes
    end_offset: int


class _Link(msgspec.Struct, frozen=True):
    chain_uid: str
    seq: int


_LINK = msgspec.json.Decoder(_Link)


def chains(journal: Path) -> list[Path]:
    """Directories of all chains, oldest first."""
    if not journal.is_dir():
        return []
    return sorted(each for each in journal.iterdir() if is_chain_name(each.name) and each.is_dir())


def segments(chain: Path) -> list[Path]:
    """Segments of a chain in order. The newest one is being written to: never unlink it."""
    return [chain / name for name in segment_names([each.name for each in chain.iterdir()])]


def durable(chain: Path) -> int:
    """Last seq that was flushed, as the running writer says. After a loss of power: as recovery says."""
    try:
        raw = (chain / DURABLE).read_bytes()
    except FileNotFoundError:
        return 0
    return int.from_bytes(raw[:8], "little")


def read(segment: Path, *, offset: int = HEADER, until: int | None = None) -> Iterator[Record]:
    """Records from `offset` on, up to and including seq `until`.

    Ends early where nothing more was written, and, without `until`, at the torn end of a write that was
    never acknowledged. In a segment that has a successor, pass the successor's first seq - 1: what stands
    behind it was written again there. Raises JournalDamaged.
    """
    with segment.open("rb") as stream:
        yield from records(stream, segment, offset=offset, until=until)


def history(chain: Path, *, after: int = 0, until: int | None = None) -> Iterator[Record]:
    """Records of a whole chain with `after` < seq <= `until`, each number once.

    Starts at the first record that the journal still has; raises JournalDamaged for a hole behind it.
    """
    paths = segments(chain)
    ends = [first_seq(path.name) - 1 for path in paths[1:]]
    for path, end in zip(paths, [*ends, until], strict=False):
        last = end if until is None or end is None else min(end, until)
        if last is not None and last <= after:
            continue
        seq = first_seq(path.name) - 1
        for record in read(path, until=last):
            seq = record.seq
            if seq > after:
                yield record
        if last is not None and seq < last:
            raise JournalDamaged(path, 0, f"ends at record {seq}, but record {last} was written")


def is_chain_name(name: str) -> bool:
    """Whether a directory is a chain's: its name is the chain's UUID."""
    return _CHAIN_NAME.fullmatch(name) is not None


def segment_names(names: list[str]) -> list[str]:
    """The segments among the names of a directory, in order."""
    return sorted(name for name in names if _SEGMENT_NAME.fullmatch(name))


def segment_name(first: int) -> str:
    return f"{first:020}{SUFFIX}"


def first_seq(name: str) -> int:
    return int(name.removesuffix(SUFFIX))


def header(head: Header) -> bytes:
    """The 128 bytes at the start of a segment."""
    previous = bytes.fromhex(head.previous_hash) if head.previous_hash else b""
    body = _HEAD.pack(_MAGIC, head.chain_uid.encode(), head.first_seq, bool(previous), previous)
    body = body.ljust(HEADER - _CRC.size, b"\0")
    return body + _CRC.pack(crc32c(body))


def parse_header(raw: bytes, path: Path | str) -> Header:
    """Raises JournalDamaged: a segment gets its name only after its header was flushed."""
    body = raw[: HEADER - _CRC.size]
    if len(raw) < HEADER or raw[HEADER - _CRC.size : HEADER] != _CRC.pack(crc32c(body)):
        raise JournalDamaged(path, 0, "the header does not match its checksum")
    magic, uid, first, linked, previous = _HEAD.unpack_from(body)
    if magic != _MAGIC:
        raise JournalDamaged(path, 0, "not a journal segment of this version")
    return Header(
        chain_uid=uid.decode("ascii", "replace"),
        first_seq=first,
        previous_hash=previous.hex() if linked else None,
    )


def mark(first: int) -> bytes:
    """The frame in front of a batch whose first record has number `first`."""
    body = _MARK.pack(_MARK_LENGTH, b"BTCH", first)
    return body + _CRC.pack(crc32c(body))


def frame(entry: bytes, personal: bytes) -> bytes:
    """One record as it stands in a segment, and in the spool."""
    lengths = _LENGTHS.pack(len(entry), len(personal))
    crc = crc32c(lengths + entry + personal)
    return b"".join((lengths, _CRC.pack(crc), entry, personal))


def batch(sealed: list[Sealed]) -> bytes:
    """The bytes of one group commit."""
    return b"".join((mark(sealed[0].seq), *(frame(each.entry, each.personal) for each in sealed)))


def records(
    stream: BinaryIO, path: Path | str, *, offset: int = HEADER, until: int | None = None
) -> Iterator[Record]:
    """`read` on an open stream that holds one segment."""
    head = parse_header(stream.read(HEADER), path)
    stream.seek(offset)
    expected = head.first_seq if offset == HEADER else None
    while until is None or expected is None or expected <= until:
        bodies = _next_bodies(stream)
        if bodies is None:
            _refuse_loss(stream, path, offset, written=until is not None)
            return
        entry, personal, offset = bodies
        seq = _check_link(entry, head, expected, path, offset)
        if until is not None and seq > until:
            return
        expected = seq + 1
        yield Record(seq, entry, personal, offset)


def _check_link(entry: bytes, head: Header, expected: int | None, path: Path | str, offset: int) -> int:
    try:
        link = _LINK.decode(entry)
    except msgspec.MsgspecError as error:
        raise JournalDamaged(path, offset, "a record with a valid checksum is no entry") from error
    if link.chain_uid != head.chain_uid:
        raise JournalDamaged(path, offset, f"a record of chain {link.chain_uid} in chain {head.chain_uid}")
    if expected is not None and link.seq != expected:
        raise JournalDamaged(path, offset, f"record {link.seq} where {expected} belongs")
    return link.seq


def _next_bodies(stream: BinaryIO) -> tuple[bytes, bytes, int] | None:
    """The next record and the offset behind it. None, with the stream anywhere: nothing intact is here."""
    head = stream.read(_FRAME.size)
    if head.startswith(_MARK_BYTES):
        rest = stream.read(_MARK_SIZE - len(head))
        if not _is_mark(head + rest):
            return None
        head = stream.read(_FRAME.size)
    if len(head) < _FRAME.size:
        return None
    entry_size, personal_size, crc = _FRAME.unpack(head)
    if entry_size == 0 or entry_size + personal_size > RECORD_MAX:
        return None
    body = stream.read(entry_size + personal_size)
    if len(body) < entry_size + personal_size or crc32c(head[: _LENGTHS.size] + body) != crc:
        return None
    return body[:entry_size], body[entry_size:], stream.tell()


def _is_mark(raw: bytes) -> bool:
    return len(raw) == _MARK_SIZE and raw[_MARK.size :] == _CRC.pack(crc32c(raw[: _MARK.size]))


def _refuse_loss(stream: BinaryIO, path: Path | str, offset: int, *, written: bool) -> None:
    """Nothing intact stands at `offset`: raise unless that is how a journal ends."""
    stream.seek(offset)
    rest = stream.read()
    if written and rest[: _FRAME.size].strip(b"\0"):
        raise JournalDamaged(path, offset, "a bad record among those that were acknowledged")
    found = rest.find(_MARK_BYTES, 1)
    while found >= 0:
        if _is_mark(rest[found : found + _MARK_SIZE]):
            raise JournalDamaged(path, offset, "a bad record in front of records that were written later")
        found = rest.find(_MARK_BYTES, found + 1)


def frames(raw: bytes) -> list[tuple[bytes, bytes]]:
    """The intact (entry, personal) pairs at the start of `raw`: the content of a spool."""
    stream, found = io.BytesIO(raw), list[tuple[bytes, bytes]]()
    while bodies := _next_bodies(stream):
        found.append(bodies[:2])
    return found
