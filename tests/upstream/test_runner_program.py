"""The runner as a program, as the supervisor starts it: however it ends, nothing of its servers stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airlock.core.clock import SYSTEM
from airlock.core.errors import UpstreamFault
from airlock.upstream.breaker import Gate
from airlock.upstream.stdio import StdioUpstream
from airlock.upstream.stdio_link import RunnerLink
from tests.upstream.stdio_parts import alive, call, toy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from airlock.core.config import ServerEntry


class Program:
    """The runner as the supervisor starts it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        command = [sys.executable, "-m", "airlock.upstream.runner", "--socket", str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def configure(self, *entries: ServerEntry) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode({"servers": entries}) + b"\n")
        self.process.stdin.flush()

    def log(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()


@contextmanager
def program(path: Path, *entries: ServerEntry) -> Generator[Program]:
    found = Program(path)
    try:
        found.configure(*entries)
        yield found
    finally:
        found.process.kill()
        found.process.wait()
        for pipe in (found.process.stdin, found.process.stdout):
            if pipe is not None:
                pipe.close()


async def pids_of(path: Path) -> list[int]:
    """The server and two of its daemons, asked over a link of our own."""
    found: list[int] = []
    async with asyncio.TaskGroup() as tasks:
        link = RunnerLink(path=path, clock=SYSTEM, on_event=lambda event: None)
        running = tasks.create_task(link.run())
        upstream = StdioUpstream(name="toy", link=link, gate=Gate(clock=SYSTEM), clock=SYSTEM)
        await ready(upstream)
        found.append((await call(upstream, "whoami"))["pid"])
        found.extend(await call(upstream, "daemons", count=2))
        running.cancel()
    return found


async def ready(upstream: Any) -> None:
    """The configuration may arrive after the first connection."""
    for _ in range(500):
        with suppress(UpstreamFault):
            await upstream.describe()
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def end_of_input(found: Program) -> None:
    assert found.process.stdin is not None
    found.process.stdin.close()


def sigterm(found: Program) -> None:
    found.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("end", [end_of_input, sigterm])
def test_the_program_stops_every_server_before_it_ends(
    tmp_path: Path, end: Callable[[Program], None]
) -> None:
    path = tmp_path / "runner.sock"
    with program(path, toy()) as found:
        pids = asyncio.run(pids_of(path))
        assert path.stat().st_mode & 0o777 == 0o600
        end(found)
        assert found.process.wait(15) == 0
        assert not any(map(alive, pids))
        assert '"event":"upstream.state"' in found.log()
        assert not path.exists()


def test_nothing_survives_a_runner_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "runner.sock"
    with program(path, toy()) as found:
        pids = asyncio.run(pids_of(path))
        found.process.kill()
        wait_until(lambda: not any(map(alive, pids)))


def test_what_a_killed_keeper_leaves_is_swept_up(tmp_path: Path) -> None:
    path = tmp_path / "runner.sock"
    with program(path, toy()):
        server, *daemons = asyncio.run(pids_of(path))
        keeper = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, [server, *daemons])))
        assert asyncio.run(pids_of(path))[0] != server


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
