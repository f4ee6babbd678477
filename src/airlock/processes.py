"""Keeping a child process alive: started, watched, started again with a pause that grows, stopped in the
end."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from airlock.channel import Channel
from airlock.core.clock import Clock

BACKOFF_LEAST, BACKOFF_MOST, HEALTHY = 0.1, 5.0, 2.0
"""Seconds before a dead process is started again, doubling; one that lived `HEALTHY` seconds starts
afresh."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


Talk = Callable[[Channel], Awaitable[None]]
"""Speaks with a started process over its line until the line ends."""


class Kept:
    """One process that is kept running. `command(fd)` is its argument vector, given its end of the line."""

    def __init__(
        self,
        name: str,
        *,
        command: Callable[[int], list[str]],
        talk: Talk,
        clock: Clock,
        log: Logger,
        pass_fds: tuple[int, ...] = (),
        line_is_stdin: bool = False,
        environ: Mapping[str, str] | None = None,
        ended: Callable[[int], None] | None = None,
    ) -> None:
        """`environ`: the whole environment of the process; None: ours. `ended` is told the id of each process
        that ended."""
        self.name = name
        self._command = command
        self._talk = talk
        self._clock = clock
        self._log = log
        self._pass_fds = pass_fds
        self._line_is_stdin = line_is_stdin
        self._environ = environ
        self._ended = ended
        self._stopping = False
        self._process: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        """Run the process until `stop`; start it again whenever it ends by itself."""
        pause = BACKOFF_LEAST
        while not self._stopping:
            started = self._clock.monotonic()
            ended = await self._once()
            if self._stopping:
                return
            lived = self._clock.monotonic() - started
            self._log.error("lifecycle", what="process_died", process=self.name, code=ended)
            pause = BACKOFF_LEAST if lived >= HEALTHY else pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKOFF_MOST)

    async def _once(self) -> int | str:
        """One life: its exit status, or why it could not be started (tried again like a death)."""
        ours, theirs = socket.socketpair()
        try:
            process = await self._started(theirs)
        except OSError as error:
            ours.close()
            return error.strerror or "not started"
        finally:
            theirs.close()
        self._process = process
        if self._stopping:  # told while the process was being made
            process.terminate()
        channel = await Channel.over(ours)
        async with asyncio.TaskGroup() as group:
            talking = group.create_task(_speak(self._talk, channel))
            code = await process.wait()
            talking.cancel()
        channel.close()
        if self._ended is not None:
            self._ended(process.pid)
        return code

    async def _started(self, line: socket.socket) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command(line.fileno()),
            stdin=line.fileno() if self._line_is_stdin else asyncio.subprocess.DEVNULL,
            pass_fds=(line.fileno(), *self._pass_fds),
            start_new_session=True,
            env=self._environ,
        )

    async def stop(self, *, within: float) -> None:
        """SIGTERM, and SIGKILL for what is still there `within` seconds later."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                await process.wait()
        except TimeoutError:
            self._log.error("lifecycle", what="process_killed", process=self.name)
            process.kill()
            await process.wait()


def module(name: str, *arguments: str) -> list[str]:
    """The command of one of our own modules, run by this interpreter."""
    return [sys.executable, "-m", name, *arguments]


async def _speak(talk: Talk, channel: Channel) -> None:
    await talk(channel)
