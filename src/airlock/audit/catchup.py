"""Brings the database up to the journals before somebody reads it, or says why it is not.

A projector that runs is waited for; where none runs, this process takes its place and its lock, so that two
never run at once.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from airlock.audit import database, journal
from airlock.audit.projection import Projection
from airlock.audit.projector import alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airlock.core.clock import Clock

WAIT = 10.0
"""Seconds to wait for a projector that is behind."""

_LOOK_EVERY = 0.05


def catch_up(
    data_dir: Path, *, clock: Clock, pause: Callable[[float], object], timeout: float = WAIT
) -> list[str]:
    """What stands between database and journals after at most `timeout` seconds; empty: nothing."""
    journals = data_dir / "journal"
    targets = {chain.name: journal.durable(chain) for chain in journal.chains(journals)}
    deadline = clock.monotonic() + timeout
    while targets:
        behind = _behind(data_dir / "audit.db", targets)
        projected = _project(data_dir, clock=clock, deadline=deadline)
        if projected is not None:
            return projected
        if not behind or clock.monotonic() >= deadline:
            return behind
        pause(_LOOK_EVERY)
    return []


def _behind(path: Path, targets: dict[str, int]) -> list[str]:
    try:
        with closing(database.open_reader(path)) as db:
            heads = database.heads(db)
    except sqlite3.Error as error:
        return [f"the database cannot be read: {error}"]
    stand = {uid: heads[uid].seq if uid in heads else 0 for uid in targets}
    return [
        f"chain {uid}: durable up to {target}, projected up to {stand[uid]}"
        for uid, target in targets.items()
        if stand[uid] < target
    ]


def _project(data_dir: Path, *, clock: Clock, deadline: float) -> list[str] | None:
    """Project here and now; None where another process does, or this one may not write."""
    try:
        with alone(data_dir) as sole:
            if not sole:
                return None
            with closing(Projection(data_dir, clock=clock)) as projection:
                while projection.poll() and clock.monotonic() < deadline:
                    pass
                return [f"chain {uid}: {why}" for uid, why in projection.refused.items()]
    except PermissionError:
        return None
    except (sqlite3.Error, OSError) as error:
        return [f"the database cannot be written: {error}"]
