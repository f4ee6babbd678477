"""From a configured stdio server to its process: what is started, as whom, with which environment and pipes.

Nothing is inherited: the command is an absolute path found on a fixed PATH, the environment is what the entry
names, the home and the working directory are new and empty. As root every server has a user of its own
that can read neither the data directory nor another server's files. The process is started by
`launcher.py`, which stays its parent; its end of the status pipe closes when nothing of the server is left.

A user of its own must be able to reach the program and what it loads: an interpreter or packages below a
directory such as `/root` cannot be used by a gateway that runs as root; the state of the server says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from airlock.core.programs import SYSTEM_PATH, find_program, search_path
from airlock.upstream import launcher

if TYPE_CHECKING:
    from airlock.core.config import ServerEntry

UID_FIRST = 61000
UID_COUNT = 184
"""61000-61183: within what small user namespaces map, and outside the ranges that systemd hands out."""


class CannotStart(Exception):
    """The reason why this server is not started; for operators."""


class Grace(msgspec.Struct, frozen=True, kw_only=True):
    """How long a server may take to end: after its input closed, after SIGTERM, and after SIGKILL."""

    closed: float = 5.0
    terminated: float = 5.0
    killed: float = launcher.KILL_BOUND + 2.0
    """Longer than the keeper takes to give up."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How the process ended: `code` negative for a signal, None where nobody could see it."""

    code: int | None
    error: str = ""
    """Why it could not be started at all."""
    left: int = 0
    """Processes that even SIGKILL did not end in time."""


def environment(entry: ServerEntry, home: Path) -> dict[str, str]:
    """The whole environment of the server. Raises `CannotStart` for a file that cannot be read."""
    path = search_path(entry.command[0])
    found = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **entry.env}
    for name, file in entry.env_from.items():
        try:
            found[name] = Path(file).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as problem:
            raise CannotStart(f"the file for {name} cannot be read: {problem}") from problem
    return found


def resolve(entry: ServerEntry) -> str:
    """Absolute path of the program that the entry names. Raises `CannotStart`."""
    if not entry.command:
        raise CannotStart("it has no command")
    found = find_program(entry.command[0], Path("/"))
    if found is None:
        raise CannotStart(f"{entry.command[0]} is no program on {SYSTEM_PATH}")
    return found


def refusal(entry: ServerEntry, *, root: bool) -> str:
    """Why this server may not run on this host; empty if it may.

    Without root a server has the gateway's own user, and with it the data directory and the keys.
    """
    if root or entry.sensitivity == "low" or entry.unsafe_shared_user:
        return ""
    return (
        f"a server of sensitivity {entry.sensitivity} needs a user of its own, which only root can give it: "
        "start the gateway as root, or set unsafe_shared_user"
    )


def fresh_directory(place: Path, uid: int | None) -> None:
    """An empty `place` with `home` and `work` inside, closed to everybody but the server's user."""
    shutil.rmtree(place, ignore_errors=True)
    for directory in (place, place / "home", place / "work"):
        directory.mkdir(mode=0o700, parents=True)
        if uid is not None:
            os.chown(directory, uid, uid)


class Process:
    """A started server: non-blocking pipes, and how it ended. Owned by one event loop."""

    def __init__(self, spec: launcher.Spec) -> None:
        """Start it. Raises `CannotStart` where not even the keeper starts."""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        """Resolved when nothing of the server is left, or nobody is left to tell."""
        self._told = bytearray()
        fds = [os.pipe() for _ in range(5)]
        (stdin, self.stdin), (self.stdout, stdout), (self.stderr, stderr) = fds[:3]
        (control, self._control), (self._status, status) = fds[3:]
        own = (self.stdin, self.stdout, self.stderr, self._control, self._status)
        try:
            self._keeper = subprocess.Popen(  # noqa: S603  (a fixed program, no shell)
                [sys.executable, "-I", "-S", launcher.__file__, str(control), str(status)],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(control, status),
                env={"LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as problem:
            for fd in own:
                os.close(fd)
            raise CannotStart(f"the keeper cannot be started: {problem}") from problem
        finally:
            for fd in (stdin, stdout, stderr, control, status):
                os.close(fd)
        self._order(json.dumps(spec).encode() + b"\n")
        for fd in own:
            os.set_blocking(fd, False)
        self._loop.add_reader(self._status, self._read_status)

    @property
    def keeper(self) -> int:
        """Process id of the keeper; everything of the server is below it."""
        return self._keeper.pid

    async def stop(self, grace: Grace) -> Ended:
        """End it and everything that it started. The input has been closed by the caller.

        A cancellation does not cut this short: it is raised behind it.
        """
        stopping, cut = self._loop.create_task(self._stop(grace)), False
        while not stopping.done():
            try:
                await asyncio.wait([stopping])
            except asyncio.CancelledError:
                cut = True
        if cut:
            raise asyncio.CancelledError
        return stopping.result()

    async def _stop(self, grace: Grace) -> Ended:
        """1. wait for it to end by itself, 2. SIGTERM to its group, 3. SIGKILL to the whole tree,
        4. SIGKILL to a keeper that does not answer.
        """
        if not await self._within(grace.closed):
            self._order(b"T")
            if not await self._within(grace.terminated):
                self._order(b"K")
                if not await self._within(grace.killed):
                    self._keeper.kill()
        return await self.ended

    def kill(self) -> None:
        """The whole tree, at once."""
        self._order(b"K")

    async def _within(self, seconds: float) -> bool:
        return bool((await asyncio.wait([self.ended], timeout=seconds))[0])

    def _order(self, order: bytes) -> None:
        if self.ended.done():
            return
        try:
            os.write(self._control, order)
        except (BrokenPipeError, BlockingIOError):
            # The keeper is gone, which the status pipe tells, or has far more to read than it ever gets.
            return

    def _read_status(self) -> None:
        data = os.read(self._status, 4096)
        if data:
            self._told += data
            return
        self._loop.remove_reader(self._status)
        os.close(self._status)
        os.close(self._control)
        self._keeper.wait()
        told: dict[str, int | str | None] = {}
        for line in self._told.splitlines():
            told |= json.loads(line)
        code, left = told.get("exit"), told.get("left", 0)
        self.ended.set_result(
            Ended(
                code=code if isinstance(code, int) else None,
                error=str(told.get("error", "")),
                left=left if isinstance(left, int) else 0,
            )
        )
