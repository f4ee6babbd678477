"""The keeper of one stdio server: starts it shut in, and leaves nothing of it behind.

Run as a program by the runner, one per server process, standard library only, never imported state of the
gateway. Every process that the server makes, daemonised or not, stays below the keeper, because the keeper is
their sub-reaper. When the server ends, or the runner says so, or the runner dies, the whole tree is killed.
Hence: no server process outlives its keeper's last act, and no keeper outlives its runner.

Input, on the control descriptor: one JSON line (`Spec`), then `T` (SIGTERM to the group) or `K` (kill the
tree); end of file means `K`. Output, on the status descriptor, JSON lines: `pid`, `error`, `exit` and `left`.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from typing import TypedDict

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

MAX_DESCRIPTORS = 256
MAX_PROCESSES = 64
KILL_BOUND = 5.0
"""Seconds of repeated killing; only a process stuck in the kernel survives the first rounds."""


class Spec(TypedDict):
    """What to start and as whom. `uid` is null where the gateway itself is not root."""

    executable: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    uid: int | None


def prctl(option: int, value: int) -> None:
    """`prctl(2)` with one argument; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def parents() -> dict[int, int]:
    """Every process and its parent, from `/proc`; those that ended and were not collected yet included."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        found[int(name)] = int(fields[1])
    return found


def descendants(root: int, parent_of: dict[int, int]) -> list[int]:
    """All processes below `root`, nearest first."""
    children: dict[int, list[int]] = {}
    for pid, parent in parent_of.items():
        children.setdefault(parent, []).append(pid)
    found = list(children.get(root, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def confine(spec: Spec, keeper: int) -> None:
    """Shut the calling process in, in this order:

    1. a session and a process group of its own; signals and umask as a fresh program expects them
    2. limits: descriptors, no core dumps, and processes where the user is private (the limit counts per user)
    3. its directory, while still allowed to walk there
    4. its own user, without groups
    5. no new privileges; die with the keeper. After step 4, because changing the user clears the latter
    """
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS, MAX_DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    uid = spec["uid"]
    if uid is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (MAX_PROCESSES, MAX_PROCESSES))
    os.chdir(spec["cwd"])
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        # The keeper died before the request above could see it.
        raise OSError("the keeper is gone")


def start(spec: Spec, status: int) -> int:
    """Fork the server; its pid. What prevents the start is told on the status descriptor."""
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        confine(spec, keeper)
        os.execve(spec["executable"], spec["argv"], spec["env"])  # noqa: S606  (the point of this program)
    except (OSError, ValueError) as problem:
        who = "the gateway's user" if spec["uid"] is None else f"the server's own user {spec['uid']}"
        tell(status, {"error": f"{spec['executable']} cannot be started as {who}: {problem}"})
    os._exit(126)


def tell(status: int, message: dict[str, int | str | None]) -> None:
    """One line to the runner; a runner that is gone needs none."""
    try:
        os.write(status, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        return


class Keeper:
    """The parent's half: reaps, passes signals on, and kills the tree."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.exit: int | None = None
        """Exit status of the server as `waitstatus_to_exitcode` has it; None while it lives."""

    def reap(self) -> None:
        """Collect every ended process below, the server's own and what was re-parented to the keeper."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.server:
                self.exit = os.waitstatus_to_exitcode(status)

    def terminate(self) -> None:
        """SIGTERM to the server's process group."""
        try:
            os.killpg(self.server, signal.SIGTERM)
        except ProcessLookupError:
            return

    def kill(self) -> int:
        """SIGKILL to everything below until nothing is left; how many survived the bound."""
        until = time.monotonic() + KILL_BOUND
        while True:
            left = descendants(os.getpid(), parents())
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.reap()
            if not left or time.monotonic() > until:
                return len(left)
            time.sleep(0.01)

    def watch(self, control: int, wake: int) -> int:
        """Until the server has ended or has to: obey the control descriptor. How many survived."""
        while self.exit is None:
            ready = select.select([control, wake], [], [])[0]
            if wake in ready:
                os.read(wake, 4096)
                self.reap()
            if control in ready:
                order = os.read(control, 1)
                if order != b"T":
                    break
                self.terminate()
        return self.kill()


def read_line(fd: int) -> bytes:
    """Up to the first line feed, and nothing beyond it: what follows are orders."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


def woken_only(number: int, frame: object) -> None:
    """A handler must exist for the wake-up descriptor to be written."""


def main(arguments: list[str]) -> int:
    """`launcher.py CONTROL STATUS`, with the server's own three descriptors as 0, 1 and 2."""
    control, status = int(arguments[0]), int(arguments[1])
    os.set_inheritable(control, False)
    os.set_inheritable(status, False)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, woken_only)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    line = read_line(control)
    if not line:
        return 1
    spec: Spec = json.loads(line)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(start(spec, status))
    # The server must be the only holder of its pipes, or nobody would ever see them close.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    tell(status, {"pid": keeper.server})
    left = keeper.watch(control, wake)
    tell(status, {"exit": keeper.exit, "left": left})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
