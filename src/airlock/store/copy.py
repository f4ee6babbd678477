"""Copies of SQLite files that are in use: by SQLite's online backup, never file by file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path


def copy(source: sqlite3.Connection, target: Path) -> None:
    """What a connection sees, as a new file of the owner's alone. An open transaction decides what is seen.

    Raises `sqlite3.Error`, and FileExistsError. The copy is not flushed.
    """
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(target, isolation_level=None)) as copied:
        copied.execute("PRAGMA synchronous = OFF")
        source.backup(copied)


def copy_file(source: Path, target: Path) -> None:
    """The same of a file, as it is at one moment."""
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as opened:
        copy(opened, target)
