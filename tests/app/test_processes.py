"""Keeping a process alive, with real processes."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from airlock.channel import Channel
from airlock.core.clock import SYSTEM
from airlock.processes import BACKOFF_LEAST, BACKOFF_MOST, HEALTHY, Kept, module
from tests.edge.parts import now, travel
from tests.gateway.parts import HandClock, Lines

SPEAK = "import socket, sys, json, os, signal, time\nline = socket.socket(fileno=int(sys.argv[1]))\n"
TELL = "line.sendall(json.dumps({'pid': os.getpid()}).encode() + b'\\n')\n"
HELLO = SPEAK + TELL
STAY = HELLO + "line.recv(1)\n"
STUBBORN = SPEAK + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + TELL + "time.sleep(60)\n"


class Home:
    """A kept process and everything that it says."""

    def __init__(self, code: str, **how: Any) -> None:
        self.lines = Lines()
        self.said: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.kept = Kept(
            "child",
            command=lambda fd: [sys.executable, "-S", "-c", code, str(fd)],
            talk=self._listen,
            clock=SYSTEM,
            log=self.lines,
            **how,
        )

    async def _listen(self, line: Channel) -> None:
        while (message := await line.receive()) is not None:
            self.said.put_nowait(message)
        self.said.put_nowait(None)


def home(scenario: Callable[[Home], Awaitable[None]], code: str, **how: Any) -> Home:
    """Keep the process while the scenario runs, then stop it."""

    async def bounded() -> Home:
        here = Home(code, **how)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(here.kept.keep())
            try:
                await scenario(here)
            finally:
                await here.kept.stop(within=10)
        return here

    return asyncio.run(bounded())


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_process_speaks_over_its_line() -> None:
    async def scenario(here: Home) -> None:
        message = await here.said.get()
        assert message and not gone(message["pid"])

    home(scenario, STAY)


def test_a_process_may_speak_over_its_standard_input() -> None:
    async def scenario(here: Home) -> None:
        assert await here.said.get() == {"a": 1}

    home(
        scenario,
        SPEAK + "socket.socket(fileno=0).sendall(b'{\"a\": 1}\\n')\nline.recv(1)",
        line_is_stdin=True,
    )


def test_a_process_gets_the_descriptors_that_it_is_promised() -> None:
    reading, writing = os.pipe()

    async def scenario(here: Home) -> None:
        assert await here.said.get() == {"promised": True}

    code = SPEAK + f"os.write({writing}, b'x')\nline.sendall(b'{{\"promised\": true}}\\n')\nline.recv(1)\n"
    try:
        home(scenario, code, pass_fds=(writing,))
        assert os.read(reading, 1) == b"x"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_process_that_ends_is_started_again() -> None:
    async def scenario(here: Home) -> None:
        first, end, second = [await here.said.get() for _ in range(3)]
        assert end is None
        assert first and second and first["pid"] != second["pid"]

    home(scenario, HELLO)


def test_the_end_of_a_process_is_told_with_its_status() -> None:
    async def scenario(here: Home) -> None:
        for _ in range(3):
            await here.said.get()

    lines = home(scenario, HELLO + "sys.exit(7)").lines.lines
    assert lines[0] == {
        "level": "error", "event": "lifecycle", "what": "process_died", "process": "child", "code": 7,
    }  # fmt: skip


def test_each_process_that_ended_is_told_by_its_id() -> None:
    ended: list[int] = []
    pids: list[int] = []

    async def scenario(here: Home) -> None:
        while len(pids) < 2:
            message = await here.said.get()
            if message is not None:
                pids.append(message["pid"])

    home(scenario, HELLO, ended=ended.append)
    assert ended[:2] == pids


def test_a_stopped_process_is_gone_and_is_not_started_again() -> None:
    pids: list[int] = []

    async def scenario(here: Home) -> None:
        message = await here.said.get()
        assert message is not None
        pids.append(message["pid"])

    here = home(scenario, STAY)
    assert gone(pids[0])
    assert here.lines.lines == []


def test_a_process_that_does_not_listen_is_killed() -> None:
    async def scenario(here: Home) -> None:
        await here.said.get()
        await here.kept.stop(within=0.1)

    assert [line["what"] for line in home(scenario, STUBBORN).lines.lines] == ["process_killed"]


def test_a_process_that_is_stopped_while_it_starts_ends() -> None:
    async def scenario(here: Home) -> None:
        await asyncio.sleep(0)

    assert home(scenario, SPEAK + "time.sleep(60)").lines.lines == []


def test_a_process_that_is_stopped_before_it_starts_never_does() -> None:
    async def scenario() -> list[int]:
        here = Home(STAY)
        await here.kept.stop(within=1)
        await here.kept.keep()
        return [here.said.qsize()]

    assert asyncio.run(scenario()) == [0]


def test_a_pause_after_a_death_is_no_reason_to_wait_at_the_end() -> None:
    async def scenario(here: Home) -> None:
        while not here.lines.lines:
            await here.said.get()
            await asyncio.sleep(0)

    assert len(home(scenario, HELLO).lines.lines) >= 1


def pauses(lives: float, count: int = 8) -> list[float]:
    """The pauses between the starts of a program that does not exist and yet seems to live so long."""

    async def scenario() -> list[float]:
        clock, lines, starts, enough = HandClock(), Lines(), list[float](), asyncio.Event()

        def command(_: int) -> list[str]:
            starts.append(now())
            if len(starts) > count:
                enough.set()
            clock.seconds += lives
            return ["/no/such/program"]

        async def talk(_: Channel) -> None:
            raise AssertionError("nobody is there")

        kept = Kept("child", command=command, talk=talk, clock=clock, log=lines)
        async with asyncio.TaskGroup() as group:
            group.create_task(kept.keep())
            await enough.wait()
            await kept.stop(within=1)
        assert {line["code"] for line in lines.lines} == {"No such file or directory"}
        return [round(after - before, 3) for before, after in itertools.pairwise(starts)]

    return travel(scenario())


def test_the_pause_grows_up_to_a_bound() -> None:
    assert pauses(0) == [BACKOFF_LEAST, 0.2, 0.4, 0.8, 1.6, 3.2, BACKOFF_MOST, BACKOFF_MOST]


def test_after_a_healthy_life_the_pause_is_short() -> None:
    assert set(pauses(HEALTHY)) == {BACKOFF_LEAST}


def test_a_module_of_ours_is_run_by_this_interpreter() -> None:
    assert module("airlock.worker", "--line", "3") == [sys.executable, "-m", "airlock.worker", "--line", "3"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_is_killed_from_outside_is_started_again(number: signal.Signals) -> None:
    async def scenario(here: Home) -> None:
        message = await here.said.get()
        assert message is not None
        os.kill(message["pid"], number)
        assert await here.said.get() is None
        assert await here.said.get() is not None

    assert home(scenario, STAY).lines.lines[0]["code"] == -number


def test_a_process_gets_the_environment_that_it_is_given() -> None:
    async def scenario(here: Home) -> None:
        assert await here.said.get() == {"own": "yes", "ours": None}

    code = (
        SPEAK + "told = {'own': os.environ.get('OWN'), 'ours': os.environ.get('PATH')}\n"
        "line.sendall(json.dumps(told).encode() + b'\\n')\nline.recv(1)\n"
    )
    home(scenario, code, environ={"OWN": "yes"})
