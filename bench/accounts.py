"""What the kernel and the log say was spent: CPU time, flushes, entries that are not projected yet."""

from __future__ import annotations

import os
import resource
import time
from contextlib import closing
from pathlib import Path

import msgspec

from airlock.audit import database, journal

_TICK = os.sysconf("SC_CLK_TCK")

BLOCK = b"\0" * 4096
"""About what a group of records takes."""


class Reading(msgspec.Struct, frozen=True):
    """All meters at one moment, in seconds since some start of their own."""

    moment: float
    processes: dict[str, float]
    """User and system time by the name that the rig gives the process."""
    generators: float
    """The same of this process and of the children that it waited for."""
    cores: dict[int, float]
    """Time that each core was busy with anything."""
    stolen: float
    """Time that the hypervisor gave to somebody else, all cores."""


def read(pids: dict[str, int]) -> Reading:
    """All meters."""
    cores, stolen = core_seconds(Path("/proc/stat").read_text())
    return Reading(
        moment=time.monotonic(),
        processes={name: cpu_seconds(pid) for name, pid in pids.items()},
        generators=_own_seconds(),
        cores=cores,
        stolen=stolen,
    )


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def core_seconds(stat: str) -> tuple[dict[int, float], float]:
    """Busy time of each core, and stolen time of all, from the text of `/proc/stat`."""
    busy: dict[int, float] = {}
    stolen = 0.0
    for line in stat.splitlines():
        name, _, rest = line.partition(" ")
        if not name.startswith("cpu") or name == "cpu":
            continue
        user, nice, system, _idle, _wait, interrupts, soft, steal = map(int, rest.split()[:8])
        busy[int(name[3:])] = (user + nice + system + interrupts + soft) / _TICK
        stolen += steal / _TICK
    return busy, stolen


def _own_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def flush_times(folder: Path, count: int = 200) -> list[float]:
    """Milliseconds that the disk under `folder` takes to write and flush a block, `count` times."""
    path = folder / "flush.probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, count * len(BLOCK))
        os.fsync(descriptor)
        return [_flush(descriptor, number * len(BLOCK)) for number in range(count)]
    finally:
        os.close(descriptor)
        path.unlink()


def _flush(descriptor: int, offset: int) -> float:
    start = time.perf_counter()
    os.pwrite(descriptor, BLOCK, offset)
    os.fdatasync(descriptor)
    return (time.perf_counter() - start) * 1000


def backlog(data_dir: Path) -> int:
    """Entries that are durable in a journal and not in `audit.db` yet. Raises `sqlite3.Error`."""
    durable = {chain.name: journal.durable(chain) for chain in journal.chains(data_dir / "journal")}
    if not (data_dir / "audit.db").exists():
        return sum(durable.values())
    with closing(database.open_reader(data_dir / "audit.db")) as db:
        heads = database.heads(db)
    return sum(max(0, seq - (heads[uid].seq if uid in heads else 0)) for uid, seq in durable.items())
