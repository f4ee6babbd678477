"""A cut through the log while it is written: journals and `audit.db` that fit together.

1. A read transaction on the database stays open. While it does, no segment goes away whose records it does
   not see: the projector unlinks only what was folded out of the write-ahead log, and a reader stops that.
2. Of every chain: its spool, then how far it is durable, then its segments up to there, newest first.
3. The database as that transaction sees it.
So the journals reach as far as the database or further, and begin where it ends or before. The original goes
on after the cut: every chain in it carries a mark, and who finds the mark continues it in a new chain.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

from airlock.audit import database, journal
from airlock.audit.entry import entry_hash
from airlock.audit.journal import JournalDamaged
from airlock.audit.spool import NAME as SPOOL
from airlock.audit.tail import held
from airlock.core.archive import End
from airlock.store.copy import copy

if TYPE_CHECKING:
    from pathlib import Path

    from airlock.audit.journal import Record
    from airlock.core.archive import Files

DATABASE = "audit.db"


def cut(data_dir: Path, into: Files, *, scratch: Path, made_at: str) -> list[End]:
    """Add journals and database; how far each chain goes. `scratch` is a directory with room for a copy.

    Raises `sqlite3.Error` or OSError where they cannot be read, JournalDamaged.
    """
    with closing(database.open_reader(data_dir / DATABASE)) as db:
        db.execute("BEGIN")
        database.heads(db)  # 1: the transaction sees what is there when it first reads
        chains = journal.chains(data_dir / "journal")
        ends = [end for chain in chains if (end := _chain(chain, into, made_at)) is not None]  # 2
        copy(db, scratch / DATABASE)  # 3
    into.add_file(DATABASE, scratch / DATABASE)
    (scratch / DATABASE).unlink()
    return ends


def _chain(chain: Path, into: Files, made_at: str) -> End | None:
    """Add one chain; None where it has no record yet."""
    folder = f"journal/{chain.name}"
    # The spool first: what moves from it into the chain meanwhile is then in both, and recovery sees that.
    waiting = _spooled(chain / SPOOL)
    until = None if held(chain) is False else journal.durable(chain)
    last = _segments(chain, into, folder, until)
    if last is None:
        return None
    into.add_bytes(f"{folder}/{journal.DURABLE}", last.seq.to_bytes(8, "little"))
    if waiting:
        into.add_bytes(f"{folder}/{SPOOL}", waiting)
    if (chain / journal.CLOSED).exists():
        into.add_bytes(f"{folder}/{journal.CLOSED}", (chain / journal.CLOSED).read_bytes())
    else:
        into.add_bytes(f"{folder}/{journal.COPIED}", made_at.encode())
    return End(chain_uid=chain.name, seq=last.seq, hash=entry_hash(last.entry))


def _segments(chain: Path, into: Files, folder: str, until: int | None) -> Record | None:
    """Add the segments up to record `until` (None: to their end); the last record.

    One that is gone was projected before the cut, and so was every older one.
    """
    newest: Record | None = None
    limit = until
    for segment in reversed(journal.segments(chain)):
        first = journal.first_seq(segment.name)
        if until is not None and first > until:
            continue
        try:
            with segment.open("rb") as stream:
                last = _segment(segment, stream, into, f"{folder}/{segment.name}", limit)
        except FileNotFoundError:
            break
        newest, limit = newest or last, first - 1
    return newest


def _segment(path: Path, stream: BinaryIO, into: Files, name: str, limit: int | None) -> Record | None:
    """Add a segment up to record `limit`; its last record. One without records is left out."""
    last: Record | None = None
    for record in journal.records(stream, path, until=limit):
        last = record
    if limit is not None and (last is None or last.seq < limit):
        raise JournalDamaged(path, journal.HEADER, f"it ends before record {limit}, which was written")
    if last is not None:
        stream.seek(0)
        into.add(name, stream, last.end_offset)
    return last


def _spooled(spool: Path) -> bytes:
    try:
        found = journal.frames(spool.read_bytes())
    except FileNotFoundError:
        return b""
    return b"".join(journal.frame(entry, personal) for entry, personal in found)
