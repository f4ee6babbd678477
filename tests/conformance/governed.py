"""The governed gateway in front of the fixture: authentication, policy, redaction, audit, two workers."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from airlock.cli.demo.site import stdio_command
from tests.conformance.token_shim import Shim
from tests.system.deployment import Deployment, free_port, until

ROOT = Path(__file__).parents[2]
FIXTURE = [sys.executable, "-m", "tests.conformance.fixture"]


@contextmanager
def fixture(folder: Path, era: str) -> Generator[str]:
    """The fixture over HTTP; its URL."""
    port = free_port()
    path = folder / f"fixture-{era}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [*FIXTURE, "--port", str(port), "--era", era], cwd=ROOT, stdout=log, stderr=log
        )
    try:
        until(lambda: _listens(port), within=60, what=f"the fixture\n{path.read_text()}")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def named(era: str, isolation: str) -> str:
    """The name of the fixture over stdio."""
    return f"{era}-stdio" if isolation == "shared" else f"{era}-stdio-{isolation}"


def over_stdio(era: str, isolation: str = "shared") -> dict[str, Any]:
    """The fixture as an entry of the configuration, started by the gateway as a user of its own."""
    (interpreter, _), variables = stdio_command("notes.py")
    return {
        "name": named(era, isolation),
        "transport": "stdio",
        "isolation": isolation,
        "command": [interpreter, "-m", "tests.conformance.fixture", "--stdio", "--era", era],
        "env": {"PYTHONPATH": f"{ROOT}:{variables['PYTHONPATH']}", "PYTHONDONTWRITEBYTECODE": "1"},
    }


@contextmanager
def governed(
    folder: Path, *, http: Sequence[str] = (), stdio: Sequence[tuple[str, str]] = ()
) -> Generator[tuple[Deployment, Shim]]:
    """A gateway in front of fixtures of these eras, over stdio also of these isolations, and the shim in
    front of the gateway.

    A fixture is the server `<era>-http`, or what `named` says, at `/mcp/<name>`.
    """
    with ExitStack() as stack:
        servers = [
            {"name": f"{era}-http", "transport": "http", "url": stack.enter_context(fixture(folder, era))}
            for era in http
        ]
        servers += [over_stdio(*each) for each in stdio]
        deployment = stack.enter_context(Deployment(folder, servers))
        token = deployment.token("conformance", roles=["admin"], ttl=7200)
        yield deployment, stack.enter_context(Shim(to=deployment.port, token=token))
