"""A killed process is gone, a stopped one is there and does nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults import Absent, children, killed, proven, state, stopped
from tests.system.deployment import until

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


@pytest.fixture
def echo() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("said\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_a_killed_process_is_gone(echo: subprocess.Popen[str]) -> None:
    assert answer(echo) == "said\n"
    facts = killed(echo.pid)
    assert (facts.fault, facts.values) == ("killed", {"pid": echo.pid})
    assert echo.wait(30) == -9
    assert state(echo.pid) == ""
    assert children(echo.pid) == []


def test_a_stopped_process_stands_still_until_it_is_let_go(echo: subprocess.Popen[str]) -> None:
    assert answer(echo) == "said\n"
    with stopped(echo.pid) as facts:
        assert state(echo.pid) == "T"
        assert facts.proof == f"process {echo.pid} is in state T"
    assert answer(echo) == "said\n"


def test_whoever_dies_while_stopped_is_not_waited_for(echo: subprocess.Popen[str]) -> None:
    with stopped(echo.pid):
        echo.kill()
        echo.wait(30)
    assert state(echo.pid) == ""


def test_children_are_found_by_their_command() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '300'])"]
    ) as parent:
        [child] = until(lambda: children(parent.pid, "sleep"), what="the child")
        assert children(parent.pid, "airlock.worker") == []
        parent.kill()
        killed(child)


def test_what_is_not_seen_is_absent() -> None:
    with pytest.raises(Absent, match="not seen within 0 s: a wonder"):
        proven(lambda: False, "a wonder", within=0)
