"""The projector: a process of its own that fills `audit.db`, so that no worker pays for it.

`python -m airlock.audit.projector --data-dir DIR [--parent-fd N] [--status-fd N]`

Prints a status line (JSON) at most once a second. SIGTERM, or the end of file of `--parent-fd` when the
parent dies, makes it project what is durable by then and end. Killed, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import signal
import sqlite3
import sys
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from airlock.audit.projection import BATCH, Projection
from airlock.core.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from airlock.core.clock import Clock

IDLE = 0.03
"""Seconds between two looks at journals that hold less than a batch: part of the lag that operators see. A
transaction costs as much as a dozen records, so those of this time share one."""

BACKOFF = 5.0
"""Longest pause after failures of the database."""

REPORT_EVERY = 1.0

_TRANSIENT = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL))


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One report. `lag_seconds`: worst age at which a record became visible since the report before."""

    lag_seconds: float
    projected: int
    error: str = ""
    refused: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Chains that are projected no further, and why."""
    notices: tuple[str, ...] = ()
    """What an operator should know, said once."""


@contextmanager
def alone(data_dir: Path) -> Generator[bool]:
    """True inside the block: no other process projects this data directory until it ends."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "projector.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def run(
    data_dir: Path,
    *,
    should_stop: Callable[[float], bool],
    report: Callable[[Status], None],
    clock: Clock,
) -> None:
    """Project until told to stop, then once more to the end of what is durable.

    `should_stop` waits up to the seconds given and says whether to end; `report` is called at most once
    a second. Failures of the database are reported and tried again; nothing is lost meanwhile.
    """
    loop = _Loop(Projection(data_dir, clock=clock), report=report, clock=clock)
    while True:
        with alone(data_dir) as sole, closing(loop.projection):
            if sole:
                return loop.follow(should_stop)
        loop.say("another projector is at work on this directory")
        if should_stop(REPORT_EVERY / 2):
            return None


class _Loop:
    """The pace: no pause behind a full batch, a short one otherwise, a growing one on failure."""

    def __init__(self, projection: Projection, *, report: Callable[[Status], None], clock: Clock) -> None:
        self.projection = projection
        self._report = report
        self._clock = clock
        self._pause = 0.0
        self._error = ""
        self._failing_since: float | None = None
        self._said_at = -REPORT_EVERY

    def follow(self, should_stop: Callable[[float], bool]) -> None:
        while not should_stop(self._pause):
            self._pass()
            self.say(self._error)
        # What became durable before the order to stop is projected; a database that fails now is left alone.
        while self._pass() and not self._error:
            pass
        self.say(self._error, now=True)

    def say(self, error: str, *, now: bool = False) -> None:
        moment = self._clock.monotonic()
        if not now and moment - self._said_at < REPORT_EVERY:
            return
        self._said_at = moment
        projection = self.projection
        waiting = 0.0 if self._failing_since is None else moment - self._failing_since
        status = Status(
            lag_seconds=round(max(projection.lag, waiting), 3),
            projected=projection.projected,
            error=error,
            refused=projection.refused,
            notices=tuple(projection.notices),
        )
        projection.lag = 0.0
        projection.notices.clear()
        self._report(status)

    def _pass(self) -> int:
        try:
            done = self.projection.poll()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            return 0
        self._error, self._failing_since = "", None
        self._pause = 0.0 if done >= BATCH else IDLE
        return done

    def _fail(self, error: sqlite3.Error | OSError) -> None:
        self._error = f"{type(error).__name__}: {error}"
        self._failing_since = self._clock.monotonic() if self._failing_since is None else self._failing_since
        self._pause = min(BACKOFF, max(IDLE, self._pause) * 2)
        code = error.sqlite_errorcode & 0xFF if isinstance(error, sqlite3.Error) else None
        if code not in _TRANSIENT:
            self.projection.close()


class _Orders:
    """Waits for SIGTERM, SIGINT, or the end of the parent. One wait serves all: nothing polls."""

    def __init__(self, parent_fd: int | None) -> None:
        self._awake, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGTERM, _noted)
        # A terminal sends SIGINT to the whole group: with a parent, the parent decides.
        signal.signal(signal.SIGINT, _noted if parent_fd is None else signal.SIG_IGN)
        self._watched = [self._awake] if parent_fd is None else [self._awake, parent_fd]

    def __call__(self, seconds: float) -> bool:
        return bool(select.select(self._watched, [], [], seconds)[0])


def _noted(*_: object) -> None:
    """The wake-up descriptor carries the signal."""


def _reporter(descriptor: int) -> Callable[[Status], None]:
    """Writes status lines where they can be taken at once: a reader that sleeps never stops the projector."""

    def report(status: Status) -> None:
        with suppress(OSError):
            if select.select([], [descriptor], [], 0)[1]:
                os.write(descriptor, msgspec.json.encode(status) + b"\n")

    return report


def main(arguments: Sequence[str]) -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(
        prog="airlock.audit.projector", description="Fill audit.db from journals."
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument(
        "--parent-fd", type=int, help="a pipe's reading end; its end of file ends this process"
    )
    parser.add_argument("--status-fd", type=int, default=1)
    given = parser.parse_args(arguments)
    run(
        given.data_dir,
        should_stop=_Orders(given.parent_fd),
        report=_reporter(given.status_fd),
        clock=SYSTEM,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
