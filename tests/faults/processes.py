"""Processes that die or stand still."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.facts import Facts, proven


def state(pid: int) -> str:
    """The letter of `/proc/PID/stat`: R, S, D, T (stopped), Z (dead, not waited for); empty when gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return text.rpartition(")")[2].split()[0]


def children(pid: int, module: str = "") -> list[int]:
    """Ids of the children of a process whose command names `module`, such as `airlock.worker`."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                if module.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def killed(pid: int, *, fault: str = "killed") -> Facts:
    """SIGKILL. Nothing mends it but whoever starts it again."""
    os.kill(pid, signal.SIGKILL)
    proven(lambda: state(pid) in {"", "Z", "X"}, f"the end of process {pid}")
    return Facts(fault=fault, proof=f"process {pid} does not run any more", values={"pid": pid})


@contextmanager
def stopped(pid: int, *, fault: str = "stopped") -> Generator[Facts]:
    """SIGSTOP: its ports are open and nobody answers; SIGCONT when left."""
    os.kill(pid, signal.SIGSTOP)
    try:
        proven(lambda: state(pid) == "T", f"process {pid} standing still")
        yield Facts(fault=fault, proof=f"process {pid} is in state T", values={"pid": pid})
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    with suppress(ProcessLookupError):
        proven(lambda: state(pid) != "T", f"process {pid} going on")
