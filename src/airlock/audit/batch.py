"""One batch of journal records into `audit.db`, in one transaction with the head of their chain.

If we crash before COMMIT, nothing of the batch is there; after it, all of it and the head that says so.
A batch is checked before it is stored: each record names the hash of the one before it.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec

from airlock.audit import rows
from airlock.audit.database import Head
from airlock.audit.entry import entry_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airlock.audit.journal import Record
    from airlock.audit.rows import Columned, Side

_INSERT = (
    "INSERT INTO audit_log VALUES"
    " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""In the order of the table, which is `rows.LINK`, then `rows.COLUMNS`."""
_INSERT_PERSONAL = "INSERT INTO audit_personal (n, salt, subject, source_ip, data) VALUES (?, ?, ?, ?, ?)"
_ENCODER = msgspec.json.Encoder(order="sorted")


class ChainRefused(Exception):
    """Journal and database contradict each other: this chain is projected no further."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch. `defect`: why the records after `head` were not stored; empty: all were."""

    head: Head
    count: int
    oldest: str
    """`timestamp` of the first record stored."""
    defect: str = ""
    notice: str = ""


class _Linked(msgspec.Struct, frozen=True):
    """A record that links to the one before it."""

    entry: Columned
    raw: bytes
    side: Side | None


def store(db: sqlite3.Connection, chain_uid: str, head: Head | None, batch: Sequence[Record]) -> Stored:
    """Insert the records that follow `head` (None: the database does not know the chain yet).

    Raises `ChainRefused`,
    or `sqlite3.Error`; then nothing is stored. `batch` is not empty.
    """
    # 1. What links to the head.
    start, notice = (head, "") if head is not None else _adopted(chain_uid, batch[0])
    linked, defect = _link(chain_uid, start, batch)
    if not linked:
        raise ChainRefused(defect)
    end = Head(linked[-1].entry.seq, entry_hash(linked[-1].raw))
    # 2. Rows and head, together.
    db.execute("BEGIN IMMEDIATE")
    try:
        _expect(db, chain_uid, head)
        if head is None:
            _open_chain(db, linked[0].entry)
        _insert(db, linked)
        _move(db, chain_uid, end, linked)
        db.execute("COMMIT")
    except sqlite3.IntegrityError as error:
        _roll_back(db)
        raise ChainRefused(f"a row that the projector did not write stands in the way: {error}") from error
    except BaseException:
        _roll_back(db)
        raise
    return Stored(head=end, count=len(linked), oldest=linked[0].entry.timestamp, defect=defect, notice=notice)


def _adopted(chain_uid: str, first: Record) -> tuple[Head, str]:
    """Where a chain begins that the database does not know: where its journal does."""
    if first.seq == 1:
        return Head(0, None), ""
    notice = f"chain {chain_uid}: records 1 to {first.seq - 1} are in neither database nor journal"
    return Head(first.seq - 1, _read(first).previous_hash), notice


def _link(chain_uid: str, head: Head, batch: Sequence[Record]) -> tuple[list[_Linked], str]:
    """The records that continue the chain, and what is wrong with the next one."""
    linked: list[_Linked] = []
    seq, previous = head
    for record in batch:
        if record.seq != seq + 1:
            return linked, f"journal records {seq + 1} to {record.seq - 1} are missing"
        try:
            entry = _read(record)
            side = rows.read_side(record.personal) if record.personal else None
        except (ChainRefused, rows.Unreadable) as error:
            return linked, f"journal record {record.seq} cannot be read: {error}"
        if (entry.chain_uid, entry.seq) != (chain_uid, record.seq):
            return linked, f"journal record {record.seq} belongs to {entry.chain_uid} {entry.seq}"
        if entry.previous_hash != previous:
            names = f"it names {entry.previous_hash}, the one before has {previous}"
            return linked, f"journal record {record.seq} does not link: {names}"
        linked.append(_Linked(entry, record.entry, side))
        seq, previous = record.seq, entry_hash(record.entry)
    return linked, ""


def _read(record: Record) -> Columned:
    try:
        return rows.read(record.entry)
    except rows.Unreadable as error:
        raise ChainRefused(f"record {record.seq}: {error}") from error


def _expect(db: sqlite3.Connection, chain_uid: str, head: Head | None) -> None:
    """The database stands where the projector left it; else another hand moved it."""
    found = db.execute(
        "SELECT head_seq, head_hash FROM audit_chains WHERE chain_uid = ?", (chain_uid,)
    ).fetchone()
    if found != head:
        raise ChainRefused(f"another hand moved the head in audit_chains: it was {head}, it is {found}")
    if (
        head is None
        and db.execute("SELECT 1 FROM audit_log WHERE chain_uid = ? LIMIT 1", (chain_uid,)).fetchone()
    ):
        raise ChainRefused("the database holds rows of this chain, but its line in audit_chains is gone")


def _open_chain(db: sqlite3.Connection, first: Columned) -> None:
    opening = rows.opening(first)
    db.execute(
        "INSERT INTO audit_chains (chain_uid, origin, opened_at, predecessor) VALUES (?, ?, ?, ?)",
        (first.chain_uid, opening.origin, first.timestamp, opening.predecessor),
    )
    if opening.predecessor is not None:
        db.execute(
            "UPDATE audit_chains SET closed_at = COALESCE(closed_at, ?)"
            " WHERE chain_uid = json_extract(?, '$.chain_uid')",
            (first.timestamp, opening.predecessor),
        )


def _insert(db: sqlite3.Connection, linked: list[_Linked]) -> None:
    free: int = db.execute(
        "SELECT 1 + MAX((SELECT COALESCE(MAX(n), 0) FROM audit_log),"
        " (SELECT COALESCE(MAX(n), 0) FROM audit_personal))"
    ).fetchone()[0]
    db.executemany(
        _INSERT,
        [
            rows.link(n, each.entry, each.raw) + rows.columns(each.entry)
            for n, each in enumerate(linked, free)
        ],
    )
    db.executemany(
        _INSERT_PERSONAL,
        [_personal(n, each.side) for n, each in enumerate(linked, free) if each.side is not None],
    )


def _personal(n: int, side: Side) -> tuple[rows.Value, ...]:
    values = dict(side.values)
    subject, source_ip = values.pop("subject", None), values.pop("source_ip", None)
    data = _ENCODER.encode(values).decode() if values else None
    return (n, bytes.fromhex(side.salt), subject, source_ip, data)


def _move(db: sqlite3.Connection, chain_uid: str, end: Head, linked: list[_Linked]) -> None:
    closed = [each.entry.timestamp for each in linked if each.entry.action == "chain_close"]
    db.execute(
        "UPDATE audit_chains SET head_seq = ?, head_hash = ?, closed_at = COALESCE(?, closed_at)"
        " WHERE chain_uid = ?",
        (end.seq, end.hash, closed[-1] if closed else None, chain_uid),
    )


def _roll_back(db: sqlite3.Connection) -> None:
    # A full disk and some I/O errors end the transaction by themselves.
    if db.in_transaction:
        db.execute("ROLLBACK")
