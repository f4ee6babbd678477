"""P-2 and P-3: how a server is shut in, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airlock.upstream import launcher
from tests.upstream.stdio_parts import ROOT, alive, python

if TYPE_CHECKING:
    from collections.abc import Generator

DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(3600)
os.wait()
"""
WAIT = "import time; time.sleep(3600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True);" + WAIT


class Kept:
    """A keeper as the runner starts it, in the hands of a test."""

    def __init__(self, code: str, place: Path, *, executable: str | None = None) -> None:
        control, self.control = os.pipe()
        self.status, status = os.pipe()
        command = [sys.executable, "-m", "airlock.upstream.launcher", str(control), str(status)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(control, status)
        )
        os.close(control)
        os.close(status)
        own = executable or sys.executable
        spec: launcher.Spec = {
            "executable": own,
            "argv": [own, "-c", code],
            "env": {},
            "cwd": str(place),
            "uid": None,
        }
        os.write(self.control, json.dumps(spec).encode() + b"\n")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def order(self, order: bytes) -> None:
        os.write(self.control, order)

    def told(self) -> dict[str, Any]:
        """Everything that the keeper says until it ends."""
        with os.fdopen(self.status) as status:
            found: dict[str, Any] = {}
            for line in status:
                found |= json.loads(line)
        assert self.process.wait(10) == 0
        return found


@contextmanager
def kept(code: str, place: Path, *, executable: str | None = None) -> Generator[Kept]:
    found = Kept(code, place, executable=executable)
    try:
        yield found
    finally:
        os.close(found.control)
        found.process.wait(10)
        for pipe in (found.process.stdin, found.process.stdout):
            if pipe is not None:
                pipe.close()


def test_the_exit_status_is_told(tmp_path: Path) -> None:
    with kept("raise SystemExit(7)", tmp_path) as keeper:
        told = keeper.told()
        assert (told["exit"], told["left"]) == (7, 0)


def test_sigterm_goes_to_the_group(tmp_path: Path) -> None:
    code = "import os; os.fork() or print('here', flush=True);" + WAIT
    with kept(code, tmp_path) as keeper:
        assert keeper.line() == "here"
        keeper.order(b"T")
        assert keeper.told()["exit"] == -signal.SIGTERM


def test_who_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with kept(STUBBORN, tmp_path) as keeper:
        assert keeper.line() == "deaf"
        keeper.order(b"T")
        keeper.order(b"K")
        assert keeper.told()["exit"] == -signal.SIGKILL


def test_daemons_die_with_the_server(tmp_path: Path) -> None:
    with kept(DAEMON, tmp_path) as keeper:
        daemon = int(keeper.line())
        assert keeper.told()["left"] == 0
        assert not alive(daemon)


def test_everything_dies_when_the_runner_does(tmp_path: Path) -> None:
    """The end of the control pipe is all that a SIGKILL of the runner leaves to see."""
    with kept(DAEMON + WAIT, tmp_path) as keeper:
        daemon = int(keeper.line())
        os.close(keeper.control)
        keeper.told()
        assert not alive(daemon)
        keeper.control = os.open(os.devnull, os.O_WRONLY)


def test_the_server_dies_with_its_keeper(tmp_path: Path) -> None:
    with kept("import os; print(os.getpid(), flush=True);" + WAIT, tmp_path) as keeper:
        server = int(keeper.line())
        keeper.process.kill()
        until = time.monotonic() + 5
        while alive(server) and time.monotonic() < until:
            time.sleep(0.01)
        assert not alive(server)


def test_a_program_that_cannot_start_is_named(tmp_path: Path) -> None:
    with kept("", tmp_path, executable="/no/such/program") as keeper:
        told = keeper.told()
        assert told["error"].startswith("/no/such/program cannot be started as the gateway's user")
        assert told["exit"] == 126


def test_no_order_no_server() -> None:
    control, orders = os.pipe()
    os.close(orders)
    status, told = os.pipe()
    command = [sys.executable, "-m", "airlock.upstream.launcher", str(control), str(told)]
    found = subprocess.run(command, pass_fds=(control, told), check=False, timeout=20)
    for fd in (control, told):
        os.close(fd)
    assert (found.returncode, os.read(status, 100)) == (1, b"")
    os.close(status)


SOURCES = str(Path(launcher.__file__).parents[2])


def confined(place: Path, uid: int | None, keeper: str, interpreter: str) -> subprocess.CompletedProcess[str]:
    """What a process sees after `confine`, in any interpreter that this code runs on."""
    spec: launcher.Spec = {"executable": "", "argv": [], "env": {}, "cwd": str(place), "uid": uid}
    code = (
        "import ctypes, json, os, resource, signal, sys\n"
        f"sys.path.insert(0, {SOURCES!r})\n"
        "from airlock.upstream import launcher\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"launcher.confine({spec!r}, {keeper})\n"
        "death = ctypes.c_int()\n"
        "ctypes.CDLL(None).prctl(2, ctypes.byref(death))\n"
        "limit = resource.getrlimit\n"
        "print(json.dumps({'ids': os.getresuid() + os.getresgid(), 'groups': os.getgroups(),"
        " 'own': [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()], 'cwd': os.getcwd(),"
        " 'term': int(signal.getsignal(signal.SIGTERM)), 'pipe': int(signal.getsignal(signal.SIGPIPE)),"
        " 'umask': os.umask(0), 'files': limit(resource.RLIMIT_NOFILE), 'core': limit(resource.RLIMIT_CORE),"
        " 'procs': limit(resource.RLIMIT_NPROC)[0], 'death': death.value,"
        " 'privs': 'NoNewPrivs:\\t1' in open('/proc/self/status').read()}))\n"
    )
    return subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False, timeout=20)


def test_a_server_is_shut_in(tmp_path: Path) -> None:
    found = json.loads(confined(tmp_path, None, "os.getppid()", sys.executable).stdout)
    del found["ids"], found["groups"], found["procs"]
    assert found == {
        "own": [True, True],
        "cwd": str(tmp_path),
        "term": signal.SIG_DFL,
        "pipe": signal.SIG_DFL,
        "umask": 0o077,
        "files": [256, 256],
        "core": [0, 0],
        "death": signal.SIGKILL,
        "privs": True,
    }


@pytest.mark.skipif(not ROOT, reason="only root can give a server a user of its own")
def test_as_root_a_server_has_a_user_of_its_own() -> None:
    answered = confined(Path("/"), 61007, "os.getppid()", python())
    found = json.loads(answered.stdout)
    assert (found["ids"], found["groups"], found["procs"]) == ([61007] * 6, [], 64)
    assert (found["death"], found["privs"]) == (signal.SIGKILL, True)


def test_a_server_whose_keeper_is_gone_does_not_start(tmp_path: Path) -> None:
    found = confined(tmp_path, None, "1 << 30", sys.executable)
    assert "the keeper is gone" in found.stderr


def test_a_refused_prctl_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        launcher.prctl(-1, 0)


def test_the_tree_is_found_whatever_its_order() -> None:
    parent_of = {5: 4, 4: 1, 6: 1, 7: 5, 9: 8}
    assert launcher.descendants(1, parent_of) == [4, 6, 5, 7]


def test_telling_a_runner_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    launcher.tell(writer, {"pid": 1})
    os.close(writer)


def test_a_group_that_is_gone_needs_no_signal() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    launcher.Keeper(child.pid).terminate()
