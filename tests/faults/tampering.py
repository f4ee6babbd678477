"""A foreign hand in the audit log (F7): in `audit.db`, past the guards against accidents, or in a journal.

Each puts back exactly what it took when it is left. The projector of a running gateway may notice, and then
stops the chain until it is started again: enter `projector_still` first where that is not what is tested.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from airlock.audit import journal, rows
from airlock.audit.entry import entry_hash
from tests.faults.facts import Facts, prove, proven
from tests.faults.processes import children, stopped

Row = tuple[Any, ...]

_GUARDS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
_ROW = "SELECT * FROM audit_log WHERE chain_uid = ? AND seq = ?"


@contextmanager
def projector_still(supervisor: int, database: Path) -> Generator[Facts]:
    """The projector stands still, between two of its transactions."""
    [projector] = children(supervisor, "airlock.audit.projector")

    def free() -> bool:
        with closing(sqlite3.connect(database, timeout=0.2, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            db.execute("ROLLBACK")
            return True

    def attempt() -> bool:
        with stopped(projector):
            return free()

    proven(attempt, "a projector outside of any transaction")
    with stopped(projector) as facts:
        prove(free(), "a database that nobody is writing")
        yield facts


@contextmanager
def row_edited(database: Path, *, decision: str = "deny") -> Generator[Facts]:
    """F7e: the newest allowed call says `decision` in its column."""
    with _tampering(database) as db:
        found = db.execute(
            "SELECT n, chain_uid, seq FROM audit_log WHERE action = 'tool_call' AND decision = 'allow'"
            " AND phase = 'outcome' ORDER BY n DESC LIMIT 1"
        ).fetchone()
        prove(found is not None, "a call that was allowed")
        n, chain, seq = found
        _run(db, ("UPDATE audit_log SET decision = ? WHERE n = ?", (decision, n)))
        try:
            [seen] = db.execute("SELECT decision FROM audit_log WHERE n = ?", (n,)).fetchone()
            prove(seen == decision, f"seq {seq} saying {decision}")
            proof = f"the row of seq {seq} says {seen}, its entry says allow"
            yield _facts("F7e", proof, chain, seq, decision=decision)
        finally:
            _run(db, ("UPDATE audit_log SET decision = 'allow' WHERE n = ?", (n,)))


@contextmanager
def row_deleted(database: Path) -> Generator[Facts]:
    """F7d: a row in the middle of the longest chain is gone, with its personal values."""
    with _tampering(database) as db:
        chain, head = _longest(db)
        seq = head // 2
        prove(1 < seq < head, "a chain with a middle")
        with _taken(db, chain, seq, seq):
            [left] = db.execute(
                "SELECT COUNT(*) FROM audit_log WHERE chain_uid = ? AND seq = ?", (chain, seq)
            ).fetchone()
            prove(left == 0, f"no row of seq {seq}")
            yield _facts("F7d", f"seq {seq} of 1 to {head} has no row", chain, seq)


@contextmanager
def tail_truncated(database: Path, *, count: int = 2, cover: bool = False) -> Generator[Facts]:
    """F7t: the last `count` rows of the longest chain are gone. `cover`: its head agrees."""
    with _tampering(database) as db:
        chain, head = _longest(db)
        first = head - count + 1
        prove(first > 1, f"a chain of more than {count} rows")
        end = db.execute(_ROW, (chain, first - 1)).fetchone()
        with _taken(db, chain, first, head), _head(db, chain, (first - 1, end[5]) if cover else None):
            [last] = db.execute("SELECT MAX(seq) FROM audit_log WHERE chain_uid = ?", (chain,)).fetchone()
            prove(last == first - 1, f"no row from seq {first} on")
            proof = f"the last row is seq {last}, the last that was written seq {head}"
            yield _facts("F7t", proof, chain, first, cover=cover)


@contextmanager
def history_rehashed(database: Path, *, reason: str = "forged") -> Generator[Facts]:
    """F7r: an entry in the middle of the longest chain has another reason, and every hash from there to the
    head is computed anew. What only the journal or a checkpoint shows is all that shows it."""
    with _tampering(database) as db:
        chain, head = _longest(db)
        seq = head // 2
        genuine = [db.execute(_ROW, (chain, each)).fetchone() for each in range(seq, head + 1)]
        prove(seq > 1 and None not in genuine, "a chain with a middle and no hole")
        forged = _rehashed(genuine, genuine[0][6], reason)
        _exchange(db, forged)
        try:
            with _head(db, chain, (head, forged[-1][5])):
                prove(_linked(db, chain, seq, head), "hashes that fit each other again")
                proof = f"the entry of seq {seq} says {reason}; {head - seq + 1} hashes up to the head fit it"
                yield _facts("F7r", proof, chain, seq, reason=reason)
        finally:
            _exchange(db, genuine)


@contextmanager
def row_forked(database: Path) -> Generator[Facts]:
    """F7k: behind the head of the longest chain stands a row, whole by itself, that follows the one in the
    middle; the head names it."""
    with _tampering(database) as db:
        chain, head = _longest(db)
        middle = db.execute(_ROW, (chain, head // 2)).fetchone()
        prove(middle is not None, "a chain with a middle")
        members = _decoded(middle[8])
        members |= {"seq": head + 1, "previous_hash": middle[5], "id": f"forked-{head + 1}", "commit": {}}
        entry = msgspec.json.encode(members, order="sorted")
        [n] = db.execute("SELECT MAX(n) + 1 FROM audit_log").fetchone()
        parsed = rows.read(entry)
        _insert(db, "audit_log", [rows.link(n, parsed, entry) + rows.columns(parsed)])
        try:
            with _head(db, chain, (head + 1, entry_hash(entry))):
                heirs = "SELECT COUNT(*) FROM audit_log WHERE chain_uid = ? AND previous_hash = ?"
                [seen] = db.execute(heirs, (chain, middle[5])).fetchone()
                prove(seen == 2, f"two rows that follow seq {middle[2]}")
                proof = f"seq {middle[2] + 1} and seq {head + 1} both follow seq {middle[2]}"
                yield _facts("F7k", proof, chain, head + 1)
        finally:
            _run(db, ("DELETE FROM audit_log WHERE n = ?", (n,)))


@contextmanager
def journal_edited(
    chain: Path, seq: int, *, word: bytes = b"allow", other: bytes = b"alloy"
) -> Generator[Facts]:
    """F7e in the journal: `word` in the record of this number is another of the same length, under a checksum
    that fits. `chain` is the directory of the chain."""
    if len(word) != len(other):
        raise ValueError("both words have the same length")
    record = next((each for each in journal.history(chain) if each.seq == seq), None)
    prove(record is not None and word in record.entry, f"a record {seq} that says {word.decode()}")
    assert record is not None
    genuine = journal.frame(record.entry, record.personal)
    forged = journal.frame(record.entry.replace(word, other, 1), record.personal)
    [segment] = [each for each in journal.segments(chain) if genuine in each.read_bytes()]
    _overwrite(segment, genuine, forged)
    try:
        prove(forged in segment.read_bytes(), "the forged record")
        proof = f"record {seq} says {other.decode()} under a checksum that fits"
        yield _facts("F7e", proof, chain.name, seq, segment=segment)
    finally:
        _overwrite(segment, forged, genuine)


def _overwrite(segment: Path, old: bytes, new: bytes) -> None:
    """In place: a writer may have the file open, and only that record may change."""
    with segment.open("r+b") as file:
        file.seek(file.read().index(old))
        file.write(new)


@contextmanager
def _tampering(database: Path) -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as db:
        yield db


def _run(db: sqlite3.Connection, *statements: tuple[str, Row]) -> None:
    """All of it in one transaction, past the guards, which are there again afterwards."""
    with _unguarded(db):
        for sql, arguments in statements:
            db.execute(sql, arguments)


@contextmanager
def _unguarded(db: sqlite3.Connection) -> Generator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        guards = db.execute(_GUARDS).fetchall()
        for name, _ in guards:
            db.execute(f"DROP TRIGGER {name}")
        yield
        for _, sql in guards:
            db.execute(sql)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


@contextmanager
def _taken(db: sqlite3.Connection, chain: str, first: int, last: int) -> Generator[None]:
    """These rows are gone while this is entered."""
    where = "(SELECT n FROM audit_log WHERE chain_uid = ? AND seq BETWEEN ? AND ?)"
    saved = {
        table: db.execute(f"SELECT * FROM {table} WHERE n IN {where}", (chain, first, last)).fetchall()  # noqa: S608
        for table in ("audit_log", "audit_personal")
    }
    numbers = [(row[0],) for row in saved["audit_log"]]
    _run(db, *(("DELETE FROM audit_personal WHERE n = ?", n) for n in numbers),
         *(("DELETE FROM audit_log WHERE n = ?", n) for n in numbers))  # fmt: skip
    try:
        yield
    finally:
        # A head that went back with the rows lets the projector write them again from the journal.
        again = {row[0] for row in saved["audit_log"] if db.execute(_ROW, (row[1], row[2])).fetchone()}
        for table, content in saved.items():
            _insert(db, table, [row for row in content if row[0] not in again])


def _insert(db: sqlite3.Connection, table: str, content: Iterable[Row]) -> None:
    made = [(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row) for row in content]  # noqa: S608
    _run(db, *made)


def _exchange(db: sqlite3.Connection, content: list[Row]) -> None:
    """Put these in the place of the rows of the same `n`, whose hashes are unique at every moment."""
    with _unguarded(db):
        for row in content:
            db.execute("UPDATE audit_log SET hash = substr(id || hash, -64) WHERE n = ?", (row[0],))
        names = [each[1] for each in db.execute("PRAGMA table_info(audit_log)")]
        change = ", ".join(f"{name} = ?" for name in names[1:])
        for row in content:
            db.execute(f"UPDATE audit_log SET {change} WHERE n = ?", (*row[1:], row[0]))  # noqa: S608


def _rehashed(genuine: list[Row], previous: str | None, reason: str) -> list[Row]:
    """The rows with the first one forged and all of them linked anew."""
    made: list[Row] = []
    for row in genuine:
        members = _decoded(row[8]) | {"previous_hash": previous}
        if not made:
            members["reason"] = reason
        entry = msgspec.json.encode(members, order="sorted")
        parsed = rows.read(entry)
        made.append(rows.link(row[0], parsed, entry) + rows.columns(parsed))
        previous = entry_hash(entry)
    return made


def _linked(db: sqlite3.Connection, chain: str, first: int, last: int) -> bool:
    """Whether each entry hashes to what its row says and every row names the one before."""
    previous = db.execute(_ROW, (chain, first - 1)).fetchone()[5]
    for seq in range(first, last + 1):
        row = db.execute(_ROW, (chain, seq)).fetchone()
        if (row[6], row[5]) != (previous, entry_hash(row[8])):
            return False
        previous = row[5]
    return True


def _decoded(entry: bytes) -> dict[str, Any]:
    return msgspec.json.decode(entry, type=dict[str, Any])


def _longest(db: sqlite3.Connection) -> tuple[str, int]:
    """The chain with the highest head, and that head."""
    found = db.execute(
        "SELECT chain_uid, head_seq FROM audit_chains ORDER BY head_seq DESC, chain_uid LIMIT 1"
    ).fetchone()
    prove(found is not None, "a chain in the database")
    return found


@contextmanager
def _head(db: sqlite3.Connection, chain: str, line: Row | None) -> Generator[None]:
    """The head of the chain is at this number and hash while this is entered; None: where it was."""
    read = "SELECT head_seq, head_hash FROM audit_chains WHERE chain_uid = ?"
    change = "UPDATE audit_chains SET head_seq = ?, head_hash = ? WHERE chain_uid = ?"
    before = db.execute(read, (chain,)).fetchone()
    if line is not None:
        _run(db, (change, (*line, chain)))
    try:
        yield
    finally:
        if line is not None and db.execute(read, (chain,)).fetchone() == line:
            _run(db, (change, (*before, chain)))


def _facts(fault: str, proof: str, chain: str, seq: int, **values: Any) -> Facts:
    return Facts(fault=fault, proof=proof, values={"chain_uid": chain, "seq": seq, **values})
