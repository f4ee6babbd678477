"""A disk that forgets, a clock that a test turns, and events to write."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import random
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from airlock.audit import journal
from airlock.audit.append import Appender
from airlock.audit.chain import Chain
from airlock.audit.commit import GroupCommit
from airlock.audit.entry import entry_hash
from airlock.audit.files import Space
from airlock.audit.occurrences import Facts
from airlock.audit.recovery import Recovery
from airlock.audit.room import SEGMENT_MIN, Room
from airlock.audit.spool import Spool
from airlock.model.entry import Event, Personal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from airlock.audit.journal import Record
    from airlock.audit.survey import Watermark

T = TypeVar("T")
SECTOR = 512
UID = "0192aaaa-0000-7000-8000-000000000001"
FACTS = Facts(origin="test.local/audit", host="gw-1", version="0.1.0", configuration_digest="c0" * 32)


class PowerLoss(BaseException):
    """The lights go out in the middle of an operation."""


def dice(seed: int) -> random.Random:
    """Chance that repeats itself."""
    return random.Random(seed)  # noqa: S311 - a test, not a secret


class HandClock:
    """Stands still until a test turns it."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.ticks = 1_000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.ticks

    def forward(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds


class Lines:
    """Keeps what the log says of itself: (level, event, fields)."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.said.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        self.said.append(("warning", event, fields))

    def error(self, event: str, **fields: object) -> None:
        self.said.append(("error", event, fields))

    def words(self) -> list[str]:
        return [event for _, event, _ in self.said]


class SimFile:
    """`medium` survives a power loss, `cache` is what a running system reads, `dirty` lies between them."""

    def __init__(self, size: int) -> None:
        self.medium = bytearray(size)
        self.cache = bytearray(size)
        self.dirty: list[tuple[int, bytes | None]] = []

    def apply(self, offset: int, data: bytes | None) -> None:
        if data is None:
            del self.medium[offset:]
        else:
            self.medium[len(self.medium) : offset + len(data)] = bytes(
                max(0, offset + len(data) - len(self.medium))
            )
            self.medium[offset : offset + len(data)] = data

    def write(self, offset: int, data: bytes) -> None:
        self.cache[offset : offset + len(data)] = data
        self.dirty.append((offset, data))

    def flush(self) -> None:
        for change in self.dirty:
            self.apply(*change)
        self.dirty.clear()

    def fail_flush(self) -> None:
        """As Linux does: the pages count as clean, the medium never saw them."""
        self.dirty.clear()

    def reread(self) -> bytes:
        self.flush()
        self.cache = bytearray(self.medium)
        return bytes(self.cache)

    def lose_power(self, rng: random.Random) -> None:
        """Each sector that was not flushed arrives or does not, whatever the order of the writes."""
        for offset, data in self.dirty:
            if data is None:
                if rng.random() < 0.5:
                    self.apply(offset, None)
                continue
            at = 0
            while at < len(data):
                step = SECTOR - (offset + at) % SECTOR
                if rng.random() < 0.6:
                    self.apply(offset + at, data[at : at + step])
                at += step
        self.dirty.clear()
        self.cache = bytearray(self.medium)


class SimHandle:
    """An open file of a simulated directory."""

    def __init__(self, volume: SimVolume, name: str, file: SimFile) -> None:
        self._volume = volume
        self._name = name
        self._file = file
        self.usable = True
        """False once it was closed, or an operation on it failed: whoever goes on using it trusts a liar."""

    def write(self, offset: int, data: bytes) -> None:
        assert self.usable
        try:
            self._volume.step("write", self._name)
        except PowerLoss:
            self._file.write(offset, data)
            raise
        except OSError:
            self.usable = False
            raise
        self._file.write(offset, data)

    def flush(self) -> None:
        assert self.usable
        try:
            self._volume.step("flush", self._name)
        except OSError:
            self.usable = False
            self._file.fail_flush()
            raise
        if not self._volume.lying:
            self._file.flush()

    def truncate(self, size: int) -> None:
        self._volume.step("truncate", self._name)
        del self._file.cache[size:]
        self._file.dirty.append((size, None))

    def close(self) -> None:
        self.usable = False


class Shelf:
    """What a simulated directory holds, whoever has it open."""

    def __init__(self) -> None:
        self.files: dict[str, SimFile] = {}
        self.stored: dict[str, SimFile] = {}
        self.holder: SimDirectory | None = None
        self.published = 0


class SimDirectory:
    """A simulated chain directory, as one opened it."""

    def __init__(self, volume: SimVolume, name: str, shelf: Shelf) -> None:
        self._volume = volume
        self._name = name
        self.shelf = shelf

    @property
    def name(self) -> str:
        return self._name

    @property
    def files(self) -> dict[str, SimFile]:
        return self.shelf.files

    @property
    def published(self) -> int:
        return self.shelf.published

    @property
    def held(self) -> bool:
        return self.shelf.holder is not None

    def names(self) -> list[str]:
        return list(self.files)

    def create(self, name: str, size: int) -> SimHandle:
        self._volume.step("create", name)
        if self._volume.space().free < size:
            raise OSError(errno.ENOSPC, "no space left")
        self.files[name] = SimFile(size)
        return SimHandle(self._volume, name, self.files[name])

    def open(self, name: str) -> SimHandle:
        self._volume.step("open", name)
        return SimHandle(self._volume, name, self.files[name])

    def read(self, name: str) -> bytes:
        self._volume.step("read", name)
        return self.files[name].reread()

    def rename(self, old: str, new: str) -> None:
        self._volume.step("rename", new)
        self.files[new] = self.files.pop(old)

    def remove(self, name: str) -> None:
        self._volume.step("remove", name)
        self.files.pop(name, None)

    def sync(self) -> None:
        self._volume.step("sync", self._name)
        if self._volume.lying_sync:
            return
        self.shelf.stored = dict(self.files)

    def space(self) -> Space:
        self._volume.step("space", self._name)
        return self._volume.space()

    def lock(self) -> bool:
        if self.held:
            return False
        self.shelf.holder = self
        return True

    def publish(self, seq: int) -> None:
        self.shelf.published = seq

    def close(self) -> None:
        if self.shelf.holder is self:
            self.shelf.holder = None

    def lose_power(self, rng: random.Random) -> None:
        """Each name that was not synced is there or not; what a flush did not cover is torn."""
        kept: dict[str, SimFile] = {}
        stored = self.shelf.stored
        for name in sorted({*self.files, *stored}):
            before, after = stored.get(name), self.files.get(name)
            file = before if before is not after and rng.random() < 0.5 else after
            if file is not None:
                kept[name] = file
        for file in {id(file): file for file in (*self.files.values(), *stored.values())}.values():
            file.lose_power(rng)
        self.shelf.files, self.shelf.stored, self.shelf.holder = kept, dict(kept), None


class SimVolume:
    """A journal directory in memory. `fail` says what fails, `countdown` when power is lost."""

    def __init__(self, *, total: int = 64 * 1024 * 1024) -> None:
        self.directories: dict[str, SimDirectory] = {}
        self.total = total
        self.foreign = 0
        """Bytes that somebody else takes."""
        self.lying = False
        """The disk says that it flushed."""
        self.lying_sync = False
        self.fail: Callable[[str, str], int] = lambda operation, name: 0
        """errno for (operation, file name); 0: it succeeds."""
        self.countdown = -1

    def step(self, operation: str, name: str) -> None:
        if self.countdown == 0:
            raise PowerLoss
        self.countdown -= 1
        number = self.fail(operation, name)
        if number:
            raise OSError(number, os.strerror(number))

    def names(self) -> list[str]:
        return sorted(self.directories)

    def directory(self, name: str) -> SimDirectory:
        known = self.directories.setdefault(name, SimDirectory(self, name, Shelf()))
        return SimDirectory(self, name, known.shelf)

    def space(self) -> Space:
        files = (file for each in self.directories.values() for file in each.files.values())
        free = self.total - self.foreign - sum(len(file.cache) for file in files)
        return Space(total=self.total, free=max(0, free))

    def lose_power(self, rng: random.Random) -> None:
        self.countdown = -1
        for directory in self.directories.values():
            directory.lose_power(rng)

    def end_process(self) -> None:
        """kill -9: the locks go, every byte that was written stays."""
        for directory in self.directories.values():
            directory.shelf.holder = None


def event(number: int = 1, **fields: Any) -> Event:
    """A call's outcome, or what `fields` make of it."""
    given: dict[str, Any] = {
        "event_type": "call",
        "action": "tool_call",
        "resource": "mcp://files/read",
        "tenant": "acme",
        "correlation_id": f"req-{number}",
        "decision": "allow",
        "personal": Personal(subject="alice", source_ip="192.0.2.7"),
    }
    return Event(**{**given, **fields})


def intent(number: int = 1, **fields: Any) -> Event:
    return event(number, phase="intent", decision=None, **fields)


def outcome(number: int = 1, **fields: Any) -> Event:
    return event(number, phase="outcome", **fields)


def commit(volume: SimVolume, *, clock: HandClock | None = None, log: Lines | None = None) -> GroupCommit:
    """A fresh chain on a simulated volume, without recovery."""
    directory = volume.directory(UID)
    spool = Spool(directory=directory, size=SEGMENT_MIN)
    spool.open()
    room = Room(directory=directory, reserve=SEGMENT_MIN)
    room.hold()
    return GroupCommit(
        chain=Chain(uid=UID),
        directory=directory,
        appender=Appender(directory=directory, segment_size=SEGMENT_MIN),
        spool=spool,
        room=room,
        clock=clock or HandClock(),
        random=dice(7).randbytes,
        log=log or Lines(),
    )


def recovery(
    volume: SimVolume,
    *,
    heads: Callable[[str], Watermark | None] = lambda uid: None,
    clock: HandClock | None = None,
    log: Lines | None = None,
    seed: int = 1,
) -> Recovery:
    return Recovery(
        volume=volume,
        heads=heads,
        segment_size=SEGMENT_MIN,
        workers=1,
        facts=FACTS,
        clock=clock or HandClock(),
        random=dice(seed).randbytes,
        log=log or Lines(),
    )


def history(directory: SimDirectory) -> Iterator[Record]:
    """Every record that counts, as a reader of the medium finds it."""
    names = journal.segment_names(directory.names())
    ends = [journal.first_seq(name) - 1 for name in names[1:]]
    for name, end in zip(names, [*ends, None], strict=False):
        yield from journal.records(io.BytesIO(directory.files[name].reread()), name, until=end)


def members(record: Record) -> dict[str, Any]:
    return msgspec.json.decode(record.entry, type=dict[str, Any])


def entries(directory: SimDirectory) -> list[dict[str, Any]]:
    return [members(record) for record in history(directory)]


def check_chain(records: list[Record]) -> None:
    """Numbers, links and tenant counters have no hole."""
    previous, tenants = None, dict[str, int]()
    for seq, record in enumerate(records, 1):
        entry = members(record)
        assert (record.seq, entry["seq"], entry["previous_hash"]) == (seq, seq, previous)
        previous = entry_hash(record.entry)
        if tenant := entry.get("tenant"):
            tenants[tenant] = tenants.get(tenant, 0) + 1
            assert entry["tenant_seq"] == tenants[tenant]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, within a bound."""
    return asyncio.run(asyncio.wait_for(work, 20))


async def until(condition: Callable[[], bool], bound: float = 10.0) -> None:
    """Wait for a condition, not for a time."""
    for _ in range(int(bound / 0.002)):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not happen in time")
