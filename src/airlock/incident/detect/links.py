"""Whether rows of the audit log are what they were: each matches its hash, its columns and its predecessor.

This notices quickly and proves nothing: `airlock audit verify` does. Questions to `audit.db` only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec

from airlock.audit import rows

_COLUMNS = ", ".join(f"l.{name}" for name in rows.COLUMNS)
_BETWEEN = (
    "SELECT l.id, l.chain_uid, l.seq, l.hash, l.previous_hash, l.entry, b.hash, "  # noqa: S608 (names of columns)
    f"{_COLUMNS} FROM audit_log l LEFT JOIN audit_log b ON b.chain_uid = l.chain_uid AND b.seq = l.seq - 1"
    " WHERE l.n > ? AND l.n <= ?"
)
_ENDS = (
    "SELECT c.chain_uid, c.head_seq, (SELECT MAX(l.seq) FROM audit_log l WHERE l.chain_uid = c.chain_uid)"
    " FROM audit_chains c"
)


def tolerant(raw: bytes) -> str:
    """Text of a row: what is no UTF-8 was put there by a foreign hand, and must not blind who reads it."""
    return raw.decode("utf-8", "replace")


class Defect(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it was written. `reason` is a word that the rules know."""

    reason: str
    component: str
    """The chain, or another part of the log."""
    row: str = ""
    """Id of the row, where there is one."""


def between(db: sqlite3.Connection, after: int, last: int) -> Iterator[Defect]:
    """What is wrong with the rows of these numbers. A row without content keeps its place in the chain."""
    for id_, chain, seq, digest, previous, entry, before, *columns in db.execute(_BETWEEN, (after, last)):
        reason = _content(entry, digest, columns) or _link(seq, previous, before)
        if reason:
            yield Defect(reason=reason, component=chain, row=id_)


def ends(db: sqlite3.Connection) -> Iterator[Defect]:
    """Chains whose newest rows are gone."""
    for chain, head, last in db.execute(_ENDS):
        if head > (last or 0):
            yield Defect(reason="sequence_gap", component=chain)


def _content(entry: object, digest: str, columns: list[Any]) -> str:
    if entry is None:
        return ""
    if not isinstance(entry, bytes) or sha256(entry).hexdigest() != digest:
        return "hash_mismatch"
    try:
        expected = rows.columns(rows.read(entry))
    except rows.Unreadable:
        return "hash_mismatch"
    return "" if tuple(columns) == expected else "column_mismatch"


def _link(seq: int, previous: str | None, before: str | None) -> str:
    if seq == 1:
        return ""
    if before is None:
        return "sequence_gap"
    return "" if before == previous else "link_mismatch"
