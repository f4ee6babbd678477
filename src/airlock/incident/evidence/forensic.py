"""The audit log in a bag: a copy of the database with the journals that fit to it, and rows of the window.

The copy is SQLite's online backup, inside the same read transaction as the cut through the journals. For one
tenant there is no copy: its rows are disclosed, and of all others the hashes alone.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from airlock.audit import database
from airlock.audit.cut import DATABASE, cut
from airlock.audit.entry import UNSTORED, field_salt
from airlock.audit.inspection import Inspection, Report
from airlock.audit.visible import visible
from airlock.core.archive import Reads
from airlock.incident.evidence.bag import Bag
from airlock.store.copy import copy_file

FOLDER = "data/forensic"
_CHAINS = "data/audit/chains.json"

_UNDISCLOSED = UNSTORED | {"inputs"}
"""Committed fields that no row of the window shows: not stored, or sealed with a key of the gateway."""

_ROW = msgspec.json.Encoder()
_DATA = msgspec.json.Decoder(dict[str, str])


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chain ends in the copy, and where its rows of the window begin (None: it has none)."""

    chain_uid: str
    seq: int
    hash: str | None
    first: int | None


class _Copied:
    """The cut goes to its folder of the bag, the database under the name that operators know."""

    def __init__(self, bag: Bag, database_name: str) -> None:
        self._bag = bag
        self._database = database_name

    def add(self, name: str, stream: Reads, size: int) -> None:
        self._bag.add(self._named(name), stream, size)

    def add_bytes(self, name: str, content: bytes) -> None:
        self._bag.add_bytes(self._named(name), content)

    def add_file(self, name: str, path: Path) -> None:
        self._bag.add_file(self._named(name), path)

    def _named(self, name: str) -> str:
        return f"{FOLDER}/{self._database if name == DATABASE else name}"


def copy_log(data_dir: Path, bag: Bag, *, stamp: str, since: str, tenant: str) -> None:
    """Add the log, and how far each chain goes. `stamp`: part of the copy's name; `since` as rows have time.

    The rows of a whole bundle are in the copy: `add_rows` writes them out. Of one tenant they are added here,
    in place of the copy. Raises `sqlite3.Error`, OSError, JournalDamaged.
    """
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=bag.root.parent) as folder:
        if tenant:
            copied = Path(folder) / DATABASE
            copy_file(data_dir / DATABASE, copied)
        else:
            name = f"forensic-backup-{stamp}.db"
            cut(data_dir, _Copied(bag, name), scratch=Path(folder), made_at=stamp)
            copied = bag.root / FOLDER / name
        with closing(_opened(copied)) as db:
            chains = [
                Chain(chain_uid=uid, seq=head.seq, hash=head.hash, first=database.first_since(db, uid, since))
                for uid, head in sorted(database.heads(db).items())
            ]
        bag.add_bytes(_CHAINS, msgspec.json.encode(chains) + b"\n")
        if tenant:
            add_rows(copied, bag, tenant)


def add_rows(copied: Path, bag: Bag, tenant: str) -> None:
    """Add the rows of the window from a copy of the database."""
    chains = msgspec.json.decode((bag.root / _CHAINS).read_bytes(), type=list[Chain])
    with closing(_opened(copied)) as db, bag.writing("data/audit/range.jsonl") as file:
        for row in _rows(db, chains, tenant):
            file.write(_ROW.encode(row) + b"\n")


def copied_database(bag: Path) -> Path | None:
    """The copy in a bag; None: it is about one tenant."""
    return next(iter(sorted((bag / FOLDER).glob("*.db"))), None)


def inspect(copied: Path, bag: Bag) -> Report:
    """Verify a copy against itself and the journals in the bag, and add what was found."""
    journals = bag.root / FOLDER / "journal"
    report = Inspection(
        copied, journals=journals if journals.is_dir() else None, progress=lambda _: None
    ).run()
    with closing(sqlite3.connect(copied)) as db:
        pages = "; ".join(str(row[0]) for row in db.execute("PRAGMA integrity_check(10)"))
    bag.add_bytes(f"{FOLDER}/integrity.txt", _told(report, pages).encode())
    return report


def copy_immutable(source: Path, target: Path) -> None:
    """A copy to ask: reading a database in write-ahead mode would leave files beside it, in the bag."""
    with closing(_opened(source)) as opened, closing(sqlite3.connect(target)) as copied:
        opened.backup(copied)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def _rows(db: sqlite3.Connection, chains: Sequence[Chain], tenant: str) -> Iterator[dict[str, Any]]:
    for chain in chains:
        if chain.first is None:
            continue
        for row in database.walk(db, chain.chain_uid, chain.first):
            yield _shown(row, tenant)


def _shown(row: tuple[Any, ...], tenant: str) -> dict[str, Any]:
    """A row of `database.walk`, disclosed unless it is another tenant's."""
    shown: dict[str, Any] = {"chain_uid": row[1], "seq": row[2], "hash": row[5], "leaf_hash": row[7].hex()}
    entry = row[8]
    if not isinstance(entry, bytes) or (tenant and row[14] != tenant):
        return shown
    shown["entry"] = entry.decode("utf-8", "backslashreplace")
    if isinstance(row[29], bytes):
        shown["personal"] = _personal(row[29], row[30], row[31], row[32])
    return shown


def _personal(salt: bytes, subject: object, source_ip: object, data: object) -> dict[str, list[str]]:
    try:
        values: dict[str, object] = {} if data is None else {**_DATA.decode(str(data))}
    except msgspec.DecodeError:
        values = {}
    values |= {"subject": subject, "source_ip": source_ip}
    return {
        field: [field_salt(salt, field).hex(), value]
        for field, value in sorted(values.items())
        if isinstance(value, str) and field not in _UNDISCLOSED
    }


def _told(report: Report, pages: str) -> str:
    lines = [f"exit {int(report.exit)}: {report.scope}", f"SQLite integrity_check: {pages}"]
    lines += [
        f"chain {each.chain_uid}: {each.rows} rows, {each.first_seq} to {each.last_seq}, "
        f"{each.skeletons} skeletons, {each.findings} findings"
        for each in report.chains
    ]
    lines += [
        f"{each.code} chain {each.chain_uid} row {each.seq} {each.what}: expected {each.expected}, "
        f"seen {each.seen}"
        for each in report.findings
    ]
    lines += [f"unproven: {each}" for each in report.unproven]
    lines += [f"note: {each}" for each in report.notes]
    lines += [f"not proven: {each}" for each in report.not_proven]
    return "".join(f"{visible(line)}\n" for line in lines)
