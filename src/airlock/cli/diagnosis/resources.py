"""`airlock doctor resources`: memory, files and pressure, from /proc of this machine and its limits."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airlock.cli.diagnosis.check import Asked, Check, Verdict, judged

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")

FULL = 90.0
"""Percent of a limit from which somebody should act."""

STALLED = 20.0
"""Percent of the last 10 s in which nothing could run, for want of memory or of the disk."""

_AVERAGE = re.compile(r"^full avg10=([0-9.]+)", re.MULTILINE)


def resources(asked: Asked) -> list[Check]:
    """Everything that may run out."""
    status = asked.status()
    if isinstance(status, str):
        workers = [_check("workers", status, "running", "unknown")]
    else:
        workers = [check for worker in status["workers"] for check in _worker(worker)]
    usage = shutil.disk_usage(asked.config.data_dir)
    taken = 100 * usage.used / usage.total
    volume = _check("volume of data_dir", f"{taken:.0f} % taken", f"< {FULL:g} %", judged(taken < FULL))
    return [*workers, *_cgroup(CGROUP), *_pressure(PROC / "pressure"), volume]


def _worker(worker: dict[str, Any]) -> Iterator[Check]:
    name, place = f"worker {worker['slot']}", PROC / str(worker["pid"])
    if worker["silent"]:
        yield _check(name, "silent, or not running", "running", "bad")
        return
    try:
        resident = int(_after((place / "status").read_text(), "VmRSS:")) // 1024
        limit = _after((place / "limits").read_text(), "Max open files")
        opened = len(list((place / "fd").iterdir()))
    except (OSError, ValueError) as error:
        yield _check(name, f"cannot be looked at from here: {error}", "on this host", "unknown")
        return
    yield _check(f"{name} memory", f"{resident} MiB resident", "any", "ok")
    most = int(limit) if limit.isdigit() else 0
    good = not most or 100 * opened / most < FULL
    yield _check(f"{name} open files", f"{opened} of {limit}", f"< {FULL:g} % of the limit", judged(good))


def _cgroup(folder: Path) -> Iterator[Check]:
    """The limit of the container, and whether it has killed; nothing where there is none."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        killed = int(_after((folder / "memory.events").read_text(), "oom_kill "))
    except (OSError, ValueError):
        return
    if limit.isdigit():
        share = 100 * used / int(limit)
        seen = f"{used // 2**20} of {int(limit) // 2**20} MiB"
        yield _check("memory of the container", seen, f"< {FULL:g} %", judged(share < FULL))
    yield _check("killed for want of memory", str(killed), "0", judged(not killed))


def _pressure(folder: Path) -> Iterator[Check]:
    for name in ("memory", "io"):
        try:
            found = _AVERAGE.search((folder / name).read_text())
        except OSError:
            continue  # a kernel without it
        if found:
            seen, good = f"{found[1]} % of the last 10 s", float(found[1]) < STALLED
            yield _check(f"stalled for want of {name}", seen, f"< {STALLED:g} %", judged(good))


def _after(text: str, label: str) -> str:
    """The first word behind a label at the beginning of a line. Raises `ValueError` where there is none."""
    for line in text.splitlines():
        if line.startswith(label) and (words := line.removeprefix(label).split()):
            return words[0]
    raise ValueError(f"no {label.strip()}")


def _check(check: str, observed: str, expected: str, verdict: Verdict) -> Check:
    return Check(part="resources", check=check, observed=observed, expected=expected, verdict=verdict)
