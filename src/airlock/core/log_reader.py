"""Reading the kept log lines of all processes in the order of time, and saying what is missing from them.

Within one process the order of its lines counts, whatever its clock did; between processes their timestamps.
One line per process is held in memory, so that the size of the store does not matter.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec

from airlock.core.log_store import segments


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a line; the rest of it is passed on as it is."""

    timestamp: str
    level: str
    event: str
    component: str = ""
    duration_ms: float | None = None
    count: object = None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line, who wrote it, and its text without the line feed."""

    process: str
    told: Told
    text: bytes


class Reading:
    """One reading of a store. What it says of gaps is true once `lines` is exhausted."""

    def __init__(self, folder: Path, *, since: str = "") -> None:
        """`since` as lines have their time; empty: everything. Raises `OSError` where there is no store."""
        self._segments = segments(folder)
        self._since = since
        self._read = msgspec.json.Decoder(Told).decode
        self._first: dict[str, str] = {}
        """Time of the first kept line of each process that gave up older ones."""
        self.unreadable = 0
        """Lines that are none of ours, or torn."""
        self.not_kept = 0
        """Lines that were said but could not be kept."""

    def lines(self, events: Collection[str] = ()) -> Iterator[Line]:
        """The lines since then, oldest first; only those of `events` where any are named."""
        streams = [self._process(name, paths) for name, paths in self._segments.items()]
        for line in heapq.merge(*streams, key=lambda line: line.told.timestamp):
            if line.told.timestamp < self._since:
                continue
            if line.told.event == "lines_not_kept" and isinstance(line.told.count, int):
                self.not_kept += line.told.count
            if not events or line.told.event in events:
                yield line

    def gaps(self) -> list[str]:
        """What is missing from the answer, in words; empty: nothing."""
        found = [
            f"{name} kept nothing from before {first}"
            for name, first in self._first.items()
            if self._since and self._since < first
        ]
        if self.not_kept:
            found.append(f"{self.not_kept} lines could not be kept: the volume was full")
        if self.unreadable:
            found.append(f"{self.unreadable} lines cannot be read")
        return found

    def _process(self, name: str, paths: list[Path]) -> Iterator[Line]:
        gave_up = not paths[0].name.startswith(f"{name}.00000001.")
        for path in paths:
            try:
                with path.open("rb") as file:
                    for line in self._readable(name, file):
                        if gave_up:
                            self._first[name], gave_up = line.told.timestamp, False
                        yield line
            except FileNotFoundError:
                gave_up = True  # since the folder was read

    def _readable(self, name: str, file: Iterable[bytes]) -> Iterator[Line]:
        for text in file:
            try:
                yield Line(process=name, told=self._read(text), text=text.rstrip(b"\n"))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.unreadable += text.endswith(b"\n")  # else it is being written at this moment
