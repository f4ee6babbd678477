"""A small volume of its own, and one that is full. Mounting needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.facts import Facts, prove

BALLAST = "ballast"
PAGE = 4096
SMALL = 1024**3
"""Bytes of the largest volume that is ever filled: nobody's disk by mistake."""


def free(path: Path) -> int:
    """Bytes that may still be taken on the volume of `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


@contextmanager
def small_volume(path: Path, *, mib: int = 8) -> Generator[Facts]:
    """A volume of `mib` MiB at `path`, taken away when left, with everything on it."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "airlock-test", path], check=True)
    try:
        found = os.statvfs(path)
        total = found.f_blocks * found.f_frsize
        prove(os.path.ismount(path) and total == mib * 1024 * 1024, f"a volume of {mib} MiB at {path}")
        yield Facts(
            fault="small volume", proof=f"{path} is a mount of {total} bytes", values={"total": total}
        )
    finally:
        # Somebody may still be leaving it: then it goes as soon as they have.
        subprocess.run(["umount", "--lazy", path], check=True)


@contextmanager
def full_disk(path: Path, *, keep: int = 0) -> Generator[Facts]:
    """At most `keep` bytes and a page are left on the volume of `path`, which must be a small one."""
    found = os.statvfs(path)
    if found.f_blocks * found.f_frsize > SMALL:
        raise ValueError(f"{path} is on a volume of more than {SMALL} bytes")
    ballast = path / BALLAST
    try:
        left = _fill(ballast, keep)
        prove(left < keep + PAGE, f"a full volume at {path}: {left} bytes are free")
        yield Facts(fault="F6", proof=f"{left} bytes are free at {path}", values={"free": left})
    finally:
        ballast.unlink(missing_ok=True)


def _fill(ballast: Path, keep: int) -> int:
    """Take what is free, while others take and give back; the bytes that were free when it was full."""
    with ballast.open("wb") as file:
        for _ in range(100):
            left = free(ballast.parent)
            if left < keep + PAGE:
                return left
            wanted = (left - keep) // PAGE * PAGE
            while wanted > 0:
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, wanted)
                    break
                wanted = wanted // 2 // PAGE * PAGE
    return free(ballast.parent)
