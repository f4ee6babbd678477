"""What the stdio servers of this host are made of, as `/proc` tells: memory per tree, and strays.

A stray is a process whose keeper was killed: the runner is the next sub-reaper above and becomes its parent.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import msgspec

from airlock.upstream.launcher import descendants, parents

if TYPE_CHECKING:
    from collections.abc import Collection

PAGE = os.sysconf("SC_PAGE_SIZE")


class Census(msgspec.Struct, frozen=True):
    """One walk over the process table."""

    resident: dict[int, int]
    """Bytes of memory below each keeper; pages shared within a tree count for each process."""
    children: tuple[int, ...]
    """The caller's own children, keepers or not."""


def take(keepers: Collection[int]) -> Census:
    """Runs in a thread: it reads a few files per process of the host."""
    parent_of = parents()
    own = os.getpid()
    return Census(
        {keeper: sum(map(resident, descendants(keeper, parent_of))) for keeper in keepers},
        tuple(pid for pid, parent in parent_of.items() if parent == own),
    )


def resident(pid: int) -> int:
    """Bytes in memory; 0 for a process that has ended meanwhile."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def kill_stray(pid: int) -> bool:
    """End one child of ours and everything below it, and collect it. False where it is not ours any more."""
    for below in (pid, *descendants(pid, parents())):
        try:
            os.kill(below, signal.SIGKILL)
        except ProcessLookupError:
            continue
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return False
    return True
