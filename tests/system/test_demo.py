"""`airlock demo`: it tells the whole story, says so when a step is not true, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airlock.cli.demo.play import STEPS
from airlock.cli.demo.site import HERE
from airlock.policy.bundle import load_bundle
from airlock.policy.check import check_bundle
from airlock.policy.suite import run_tests
from tests.system.deployment import until

pytestmark = [pytest.mark.unmeasured, pytest.mark.timeout(180)]


class Demo:
    """A running demo whose temporary files lie in a folder of the test."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        folder.chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airlock.cli", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(folder), "AIRLOCK__SERVER__PORT": "1", "LOG_LEVEL": "nonsense"},
            text=True,
        )

    def finish(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def processes(self) -> dict[int, str]:
        """Every process that was started with the folder in its environment or command line."""
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.process.pid:
                continue
            try:
                said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                command = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if str(self.folder).encode() in said and int(entry.name) != os.getpid():
                found[int(entry.name)] = command
        return found

    def running(self, name: str) -> int:
        """The process id of a part of the demo, once it is there."""
        return until(
            lambda: next((pid for pid, command in self.processes().items() if name in command), None),
            within=90,
            what=f"{name} runs",
        )

    def assert_gone(self) -> None:
        until(lambda: not self.processes(), within=60, what=f"no process is left, but {self.processes()}")
        assert list(self.folder.iterdir()) == []


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("demo")
    # Under root the stdio server has a user of its own, which has to walk to its directory.
    for parent in (path.parent, path.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)
    yield path


def steps(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_every_step_is_true_reads_well_and_leaves_nothing_behind(folder: Path) -> None:
    demo = Demo(folder)
    code, out, err = demo.finish()
    assert (code, err) == (0, ""), out
    assert max(map(len, out.splitlines())) <= 100
    headings = [line for line in out.splitlines() if line[:1].isdigit()]
    assert headings == [f"{number}  {title}" for number, (title, _, _) in enumerate(STEPS, 1)]
    assert "No signed checkpoint exists" in out[out.index("Not proven") :]
    assert out.endswith("Every process and file of this demo is gone.\n")
    demo.assert_gone()


def test_a_step_that_is_not_true_ends_the_story_and_says_why(folder: Path) -> None:
    demo = Demo(folder, "--json")
    assert demo.process.stdout is not None
    first = json.loads(demo.process.stdout.readline())
    os.kill(demo.running("airlock.cli serve"), signal.SIGKILL)
    code, out, _ = demo.finish()
    last = steps(out)[-1]
    assert (first["step"], first["title"], first["ok"]) == (1, STEPS[0][0], True)
    assert first["lines"]
    assert first["facts"]
    assert (code, last["ok"]) == (1, False)
    assert last["failed"]
    assert last["seen"] != last["expected"]
    demo.assert_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind_when_it_is_interrupted(folder: Path, number: signal.Signals) -> None:
    demo = Demo(folder)
    demo.running("notes.py")
    demo.process.send_signal(number)
    code, _, err = demo.finish()
    assert (code, err) == (2, "airlock demo: interrupted\n")
    demo.assert_gone()


def test_no_process_outlives_a_demo_that_was_killed(folder: Path) -> None:
    demo = Demo(folder)
    demo.running("notes.py")
    demo.process.kill()
    demo.finish()
    until(lambda: not demo.processes(), within=60, what=f"no process is left, but {demo.processes()}")


def test_the_folder_is_kept_on_request(folder: Path) -> None:
    demo = Demo(folder, "--keep")
    until(lambda: list(folder.glob("airlock-demo-*/airlock.yaml")), within=60, what="the folder is there")
    demo.running("airlock.worker")
    demo.process.send_signal(signal.SIGINT)
    code, _, err = demo.finish()
    (kept,) = folder.iterdir()
    assert code == 2
    assert str(kept) in err
    assert not demo.processes()


def test_without_the_sdk_it_says_how_to_install_it() -> None:
    program = "import sys; sys.modules['mcp'] = None; sys.argv = ['airlock', 'demo']\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}from airlock.cli import main; main()"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "-m pip install 'mcp>=2.3,<3'" in done.stderr


def test_the_policy_of_the_demo_passes_its_own_checks() -> None:
    bundle = load_bundle(HERE / "policy")
    assert not check_bundle(bundle).warnings
    assert run_tests(bundle).passed
