"""`airlock doctor db` and `airlock doctor audit`: databases are read and locked, the disk is flushed, the log
is searched for gaps.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from airlock.audit import database, gaps
from airlock.audit.catchup import catch_up
from airlock.audit.query import moment
from airlock.audit.standing import standing
from airlock.cli.diagnosis.check import Asked, Check, judged
from airlock.core.clock import SYSTEM
from airlock.store.database import FILE

WAIT = 2.0
"""Seconds for a lock."""

WHOLE = 5.0
"""Seconds for reading a database whole."""

LOOKED_BACK = "1h"

FLUSHES = 5
FLUSH_MS = 100.0
"""Milliseconds of a flush: every governed call waits for one."""

FREE_LEAST = 10.0
"""Percent of the volume below which somebody should act; at 2 % no call is served."""


def db(asked: Asked) -> list[Check]:
    """The control data and the audit database."""
    folder = Path(asked.config.data_dir)
    return [check for name in (FILE, "audit.db") for check in _database(folder / name)]


def _database(path: Path) -> Iterator[Check]:
    if not path.exists():
        seen = "does not exist: no gateway has run on this data directory"
        yield Check(part="db", check=path.name, observed=seen, expected="a database", verdict="unknown")
        return
    began = SYSTEM.monotonic()
    name = path.name
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=WAIT)
        ) as opened:
            opened.isolation_level = None
            opened.execute("BEGIN IMMEDIATE")
            opened.execute("ROLLBACK")
            took = (SYSTEM.monotonic() - began) * 1000
            seen, verdict = f"opened and locked in {took:.1f} ms", judged(good=True)
            yield Check(
                part="db", check=f"{name} can be changed", observed=seen, expected="a lock", verdict=verdict
            )
            yield _whole(name, opened)
    except sqlite3.Error as error:
        expected = f"opened and locked within {WAIT:g} s"
        yield Check(
            part="db", check=f"{name} can be used", observed=str(error), expected=expected, verdict="bad"
        )


def _whole(name: str, opened: sqlite3.Connection) -> Check:
    """Whether the file is whole. Raises `sqlite3.Error` for one that is too damaged to say so."""
    deadline = SYSTEM.monotonic() + WHOLE
    opened.set_progress_handler(lambda: SYSTEM.monotonic() > deadline, 10_000)
    what = f"{name} is whole"
    try:
        (answer,) = opened.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        seen = f"not read to the end in {WHOLE:g} s"
        return Check(part="db", check=what, observed=seen, expected="ok", verdict="unknown")
    return Check(part="db", check=what, observed=answer, expected="ok", verdict=judged(answer == "ok"))


def audit(asked: Asked) -> list[Check]:
    """Disk and log. Raises `OSError` and `sqlite3.Error` where there is nothing to examine."""
    folder = Path(asked.config.data_dir)
    usage = shutil.disk_usage(folder)
    free = 100 * usage.free / usage.total
    flush = _flush_ms(folder)
    return [
        Check(
            part="audit",
            check="a flush of the disk",
            observed=f"{flush:.1f} ms (median of {FLUSHES})",
            expected=f"<= {FLUSH_MS:g} ms",
            verdict=judged(flush <= FLUSH_MS),
        ),
        Check(
            part="audit",
            check="room on the volume",
            observed=f"{free:.1f} % free, {usage.free // 2**20} MiB",
            expected=f">= {FREE_LEAST:g} %",
            verdict=judged(free >= FREE_LEAST),
        ),
        *_log(folder),
    ]


def _flush_ms(folder: Path) -> float:
    """Milliseconds of writing 4 KiB to the medium, in a file without a name."""
    took: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FLUSHES):
            began = SYSTEM.monotonic()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            took.append((SYSTEM.monotonic() - began) * 1000)
    return statistics.median(took)


def _log(folder: Path) -> Iterator[Check]:
    behind = catch_up(folder, clock=SYSTEM, pause=time.sleep, timeout=WHOLE)
    yield Check(
        part="audit",
        check="audit.db has what the journals have",
        observed="; ".join(behind) or "yes",
        expected="yes",
        verdict=judged(not behind),
    )
    with closing(database.open_reader(folder / "audit.db")) as opened:
        found = gaps.find(
            opened,
            since=moment(LOOKED_BACK, SYSTEM),
            now=SYSTEM.wall(),
            journal=standing(folder / "journal"),
            dangling_after=gaps.DANGLING_AFTER,
        )
    seen = "; ".join(f"{gap.chain_uid} {gap.cause}".strip() for gap in found[:3]) or "none"
    sure = any(gap.result == "gap" for gap in found)
    yield Check(
        part="audit",
        check=f"gaps of the last {LOOKED_BACK}",
        observed=seen,
        expected="none",
        verdict="bad" if sure else "unknown" if found else "ok",
    )
