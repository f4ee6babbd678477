"""`make run`, as a newcomer meets it: what it prints is pasted, and Ctrl-C ends it all."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.unmeasured


class Demo:
    """A running demo: its process, its data, and all that it printed until it was ready."""

    def __init__(self, process: subprocess.Popen[str], data: Path, port: int) -> None:
        self.process = process
        self.data = data
        self.port = port
        self.printed = ""

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if line.startswith("Ctrl-C"):
                return
        raise AssertionError(f"the demo ended: {self.printed}")

    def lines(self, start: str) -> list[str]:
        return [line for line in self.printed.splitlines() if line.startswith(start)]


def paste(line: str) -> str:
    """What a shell answers to a line of the screen."""
    run = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, cwd="/", timeout=30
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(data: Path, port: int) -> Generator[Demo]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples/demo/run.py")],
        env={**os.environ, "PORT": str(port), "DATA_DIR": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Demo(process, data, port)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=50)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Generator[Demo]:
    data = tmp_path_factory.mktemp("demo") / "data"
    with started(data, free_port()) as running:
        running.wait_ready()
        yield running


def test_the_list_has_tools_of_both_servers(demo: Demo) -> None:
    names = [tool["name"] for tool in json.loads(paste(demo.lines("curl")[0]))["result"]["tools"]]
    assert {"everything__echo", "files__read_text_file"} <= set(names)


def test_the_call_that_policy_allows_is_answered(demo: Demo) -> None:
    result = json.loads(paste(demo.lines("curl")[1]))["result"]
    assert "through Airlock" in result["content"][0]["text"]


def test_the_call_that_policy_refuses_says_why(demo: Demo) -> None:
    result = json.loads(paste(demo.lines("curl")[2]))["result"]
    assert result["isError"]
    assert result["_meta"]["dev.airlock/refusal"]["policy_reason"] == "path_not_allowed"


def test_the_audit_commands_that_it_prints_work(demo: Demo) -> None:
    question, verify = demo.lines(str(Path(sys.executable).parent / "airlock"))
    assert "reason" in paste(question)
    assert "No contradiction" in paste(verify)


def test_the_example_of_the_python_sdk_works(demo: Demo, tmp_path: Path) -> None:
    program = (ROOT / "examples/demo/client.py").read_text()
    program = program.replace(":8080", f":{demo.port}").replace("airlock-data", str(demo.data))
    (tmp_path / "client.py").write_text(program)
    run = subprocess.run(
        [sys.executable, str(tmp_path / "client.py")], capture_output=True, text=True, check=False, timeout=30
    )
    assert run.returncode == 0, run.stderr
    assert "public/welcome.md False" in run.stdout
    assert "private/salaries.csv True" in run.stdout


def test_tokens_are_for_their_owner_only(demo: Demo) -> None:
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in demo.data.glob("*.token")} == {
        "admin.token": "0o600",
        "agent.token": "0o600",
    }


def test_both_servers_listen_on_loopback_only(demo: Demo) -> None:
    config = json.loads((demo.data / "demo.yaml").read_text())
    (url,) = [server["url"] for server in config["servers"] if "url" in server]
    port = int(re.findall(r":(\d+)/", url)[0])
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 0A " in line
    ]
    anywhere = Path("/proc/net/tcp6").read_text()
    for number in (port, demo.port):
        assert [address for address in listening if address.endswith(f":{number:04X}")] == [
            f"0100007F:{number:04X}"
        ]
        assert f":{number:04X} 00000000000000000000000000000000:0000 0A" not in anywhere


def test_ctrl_c_ends_everything_with_exit_code_0(tmp_path: Path) -> None:
    with started(tmp_path / "data", free_port()) as demo:
        demo.wait_ready()
        stage = json.loads((demo.data / "demo.yaml").read_text())["servers"][0]["command"][0].split(
            "/node_modules"
        )[0]
        demo.process.send_signal(signal.SIGINT)
        rest, _ = demo.process.communicate(timeout=50)
    assert demo.process.returncode == 0, rest
    assert not Path(stage).exists()
    assert running(stage) == []


def running(text: str) -> list[str]:
    """Command lines of processes that name a text. A process that just ended has none."""
    until = time.monotonic() + 5
    while True:
        lines = [
            line for path in Path("/proc").glob("[0-9]*/cmdline") if text in (line := command_line(path))
        ]
        if not lines or time.monotonic() > until:
            return lines
        time.sleep(0.05)


def command_line(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_port_that_is_taken_is_named_and_the_exit_code_is_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with started(tmp_path / "data", port) as demo:
            rest, _ = demo.process.communicate(timeout=50)
    assert demo.process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in rest
