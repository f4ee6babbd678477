"""`audit.db`: how it is opened, and the few questions that every reader asks of it.

One process writes it, the projector. Readers open it read-only; none of them may hold a long
transaction, or the write-ahead log could not be folded back. The schema is plain enough for the
`sqlite3` program from 3.31 on. Its triggers stop accidents; verification never relies on them.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from airlock.audit.rows import ChainRow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_TIMEOUT_MS = 5000
"""Longest wait for another connection's lock."""

CACHE_KIB = 16 * 1024
"""Page cache of the writer: the indices of a busy day stay in it."""

PAGE_SIZE = 8192
"""Bytes. A row takes 2 to 3 KiB: on pages of 4 KiB one row each, a third more disk and a tenth less speed."""

CHECKPOINT_PAGES = 2000
"""Write-ahead log pages (16 MiB) before SQLite folds them back by itself."""

_BEFORE_ALL, _AFTER_ALL = -(1 << 63), (1 << 63) - 1
"""A full walk starts below 1: rows that a foreign hand numbered 0 or -1 are seen too."""

PAGE = 2000
"""Rows per read transaction while a whole chain is walked."""


class Head(NamedTuple):
    """Where the projection of a chain stands: the newest row in the database."""

    seq: int
    hash: str | None


def schema() -> str:
    """The SQL that makes an empty audit database."""
    return files("airlock.audit").joinpath("schema.sql").read_text(encoding="utf-8")


def open_writer(path: Path) -> sqlite3.Connection:
    """Open for the projector; makes directory (0700), file (0600) and schema where they are missing.

    Raises `sqlite3.Error` or `OSError`. The connection is in autocommit mode: transactions are explicit.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'audit_holds'").fetchone():
            db.executescript(f"BEGIN EXCLUSIVE;\n{schema()}\nCOMMIT;")
    except BaseException:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Open read-only; raises `sqlite3.OperationalError` where there is no readable database.

    A copy in a directory that nobody may write (a forensic copy) is read as immutable.
    """
    writable = os.access(path.parent, os.W_OK)
    uri = f"{path.absolute().as_uri()}?mode=ro" + ("" if writable else "&immutable=1")
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
    try:
        db.execute("PRAGMA query_only = ON")
        db.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except BaseException:
        db.close()
        raise
    return db


def heads(db: sqlite3.Connection) -> dict[str, Head]:
    """The watermark of every chain: `{chain_uid: (head_seq, head_hash)}`."""
    rows = db.execute("SELECT chain_uid, head_seq, head_hash FROM audit_chains")
    return {chain_uid: Head(seq, digest) for chain_uid, seq, digest in rows}


def chain_rows(db: sqlite3.Connection) -> dict[str, ChainRow]:
    """Every line of `audit_chains` by chain."""
    rows = db.execute(
        "SELECT chain_uid, origin, opened_at, closed_at, predecessor, head_seq, head_hash FROM audit_chains"
    )
    return {row[0]: ChainRow(*row) for row in rows}


def chains_with_rows(db: sqlite3.Connection) -> list[str]:
    """Every chain that has rows, by skips through the index, so that 100 million rows cost nothing."""
    rows = db.execute(
        "WITH RECURSIVE c(u) AS (SELECT MIN(chain_uid) FROM audit_log UNION ALL"
        " SELECT (SELECT MIN(chain_uid) FROM audit_log WHERE chain_uid > u) FROM c WHERE u IS NOT NULL)"
        " SELECT u FROM c WHERE u IS NOT NULL"
    )
    return [row[0] for row in rows]


def seq_of(db: sqlite3.Connection, chain_uid: str, digest: str) -> int | None:
    """The `seq` of the row of a chain that has this hash."""
    found = db.execute(
        "SELECT seq FROM audit_log WHERE hash = ? AND chain_uid = ?", (digest, chain_uid)
    ).fetchone()
    return found[0] if found else None


def first_since(db: sqlite3.Connection, chain_uid: str, since: str) -> int | None:
    """The lowest `seq` of a chain recorded at or after a moment (text form of `timestamp`)."""
    return db.execute(
        "SELECT MIN(seq) FROM audit_log WHERE chain_uid = ? AND timestamp >= ?", (chain_uid, since)
    ).fetchone()[0]


def orphans(db: sqlite3.Connection, limit: int = 100) -> list[int]:
    """Personal rows that belong to no record."""
    rows = db.execute(
        "SELECT p.n FROM audit_personal p WHERE NOT EXISTS (SELECT 1 FROM audit_log l WHERE l.n = p.n)"
        " LIMIT ?",
        (limit,),
    )
    return [row[0] for row in rows]


def hidden(db: sqlite3.Connection) -> int:
    """Rows of the table that the index by which chains are walked does not show; 0 in a whole file."""
    table: int = db.execute("SELECT COUNT(*) FROM audit_log NOT INDEXED").fetchone()[0]
    try:
        index: int = db.execute(
            "SELECT COUNT(seq) FROM audit_log INDEXED BY sqlite_autoindex_audit_log_3"
        ).fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # Another table stands in its place, as `altered` says: it is walked without that index.
    return max(0, table - index)


def altered(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """(type, name, `missing`, `altered` or `added`) of what differs from the shipped schema."""
    query = "SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(schema())
        shipped = {name: (kind, sql) for name, kind, sql in fresh.execute(query)}
    present = {name: (kind, sql) for name, kind, sql in db.execute(query)}
    found = [
        (kind, name, "missing" if name not in present else "altered")
        for name, (kind, sql) in shipped.items()
        if present.get(name) != (kind, sql)
    ]
    return found + [(kind, name, "added") for name, (kind, _) in present.items() if name not in shipped]


_WALK = (
    "SELECT l.n, l.chain_uid, l.seq, l.id, l.timestamp, l.hash, l.previous_hash, l.leaf_hash, l.entry,"
    " l.event_type, l.phase, l.occurred_at, l.correlation_id, l.request_id, l.tenant, l.tenant_seq, l.action,"
    " l.resource, l.server_id, l.tool_name, l.definition_digest, l.policy_revision, l.decision, l.reason,"
    " l.severity, l.latency_ms, l.redaction_count, l.metadata, p.n, p.salt, p.subject, p.source_ip, p.data"
    " FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n"
    " WHERE l.chain_uid = ? AND (l.seq, l.n) > (?, ?) ORDER BY l.seq, l.n LIMIT ?"
)


def walk(
    db: sqlite3.Connection, chain_uid: str, first: int | None = None, *, page: int = PAGE
) -> Iterator[tuple[object, ...]]:
    """The rows of a chain in order of `seq`: the columns of `LINK`, of `COLUMNS`, then the personal row.

    Short read transactions, so that a long walk never keeps the write-ahead log from being folded.
    """
    after: tuple[object, object] = (_BEFORE_ALL if first is None else first - 1, _AFTER_ALL)
    while True:
        rows = _read(db, (chain_uid, *after, page))
        yield from rows
        if len(rows) < page:
            return
        after = (rows[-1][2], rows[-1][0])


def _tolerant(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _read(db: sqlite3.Connection, arguments: tuple[object, ...]) -> list[tuple[object, ...]]:
    try:
        return db.execute(_WALK, arguments).fetchall()
    except sqlite3.OperationalError as error:
        # Text that is no UTF-8 was put there by a foreign hand: read it all the same, to name the row.
        if "decode" not in str(error):
            raise
    db.text_factory = _tolerant
    try:
        return db.execute(_WALK, arguments).fetchall()
    finally:
        db.text_factory = str
