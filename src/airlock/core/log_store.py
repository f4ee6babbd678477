"""Log lines kept on disk: each process appends to segments of its own, `airlock logs` reads those of all.

Bounded: a process keeps `SEGMENTS` files and gives the oldest up for the next. Keeping never stops the work
that is told of: what cannot be written (a full disk, a volume whose last room belongs to the audit log) is
left out and counted, and the count is the next line that can be kept. Lines go to the page cache, not to the
disk: a crash of the process loses none, a crash of the machine the newest. Segments never change their name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from airlock.core.clock import SYSTEM, Clock, log_time
from airlock.core.config import Config

FOLDER = "logs"
"""Name of the directory in the data directory."""

SEGMENTS = 4
"""Files of one process: the one that grows, and three that are whole."""

VOLUME_SHARE = 0.05
"""Most that all kept lines take of a volume: it is there for the audit log."""

FREE_LEAST = 0.04
"""Share of the volume that must be free: below 2 % the audit log takes no call any more."""

LOOK_EVERY = 0.25
"""Seconds between two looks at the volume."""

BESIDE_WORKERS = 4
"""Shares besides those of the workers: the supervisor, the runner, the engine, and what retired workers
left."""

_NAME = re.compile(r"([a-z]+(?:-[0-9]+)?)\.([0-9]{8})\.jsonl")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where lines are kept, and how many."""

    folder: str
    most: int
    """Bytes of all processes together."""
    processes: int
    """Shares that `most` is cut into."""

    @classmethod
    def of(cls, config: Config) -> Place:
        """The place that a configuration names."""
        folder = str(Path(config.data_dir) / FOLDER)
        return cls(folder=folder, most=config.logging.keep, processes=config.server.workers + BESIDE_WORKERS)


class KeptLines:
    """The lines of one process, `worker-0`; a stream for `log.configure`, used under the lock of the log."""

    def __init__(self, place: Place, name: str, *, clock: Clock = SYSTEM) -> None:
        """Nothing is touched before the first line."""
        self.place = place
        """May be replaced by one of the same folder."""
        self._folder = Path(place.folder)
        self._name = name
        self._clock = clock
        self._made = False
        self._file = -1
        self._size = 0
        self._looked = float("-inf")
        self._room = False
        self._total = 0
        self._lost = 0

    def write(self, data: bytes, /) -> None:
        """Keep a line, or count it as lost."""
        try:
            if self._lost:
                self._append(self._confession())
                self._lost = 0
            self._append(data)
        except OSError:
            self._lost += 1

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, data: bytes) -> None:
        """Write a whole line or nothing of it. Raises `OSError`."""
        if not self._has_room():
            raise OSError("the rest of the volume belongs to the audit log")
        largest = self._share() // SEGMENTS
        if len(data) > largest:
            raise OSError("a line larger than a segment")
        if self._file < 0 or self._size + len(data) > largest:
            self._turn()
        try:
            whole = os.write(self._file, data) == len(data)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        if not whole:
            os.ftruncate(self._file, self._size)
            raise OSError("the volume is full")
        self._size += len(data)

    def _turn(self) -> None:
        """Begin the next segment and give up the oldest. What an earlier process left is never written to."""
        self.close()
        own = segments(self._folder).get(self._name, [])
        for old in own[: max(0, len(own) - SEGMENTS + 1)]:
            old.unlink(missing_ok=True)
        number = int(own[-1].name.split(".")[1]) + 1 if own else 1
        path = self._folder / f"{self._name}.{number:08}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = 0

    def _has_room(self) -> bool:
        now = self._clock.monotonic()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self._make_folder()
            volume = os.statvfs(self._folder)
            self._total = volume.f_blocks * volume.f_frsize
            self._room = volume.f_bavail >= volume.f_blocks * FREE_LEAST
        return self._room

    def _make_folder(self) -> None:
        """Once: who takes the data directory away does not get a part of it back from a process that ends."""
        if not self._made:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made = True

    def _share(self) -> int:
        return min(self.place.most, int(self._total * VOLUME_SHARE)) // self.place.processes

    def _confession(self) -> bytes:
        line = {"timestamp": log_time(self._clock.wall()), "level": "warn"}
        line["event"] = "lines_not_kept"
        told = {"component": "log", "correlation_id": "", "count": self._lost}
        return msgspec.json.encode(line | told) + b"\n"


def segments(folder: Path) -> dict[str, list[Path]]:
    """The files of every process, the oldest first. Raises `OSError` for a folder that cannot be read."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match[1], []).append(path)
    return found


def retire(place: Place, living: Collection[str]) -> None:
    """Give up the oldest lines of processes that are not `living`, until the rest is at most one share."""
    with suppress(OSError):  # no folder yet, or one that says so itself at the first line
        found = segments(Path(place.folder))
        left = [path for name, paths in found.items() if name not in living for path in paths]
        room = place.most // place.processes
        for path in sorted(left, key=lambda path: path.stat().st_mtime, reverse=True):
            room -= path.stat().st_size
            if room < 0:
                path.unlink(missing_ok=True)
