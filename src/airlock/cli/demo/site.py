"""The place where the story plays: a temporary folder, a server over HTTP, and a real `airlock serve`.

`close` may be called at any moment, more than once, and leaves no process behind; the folder goes with it
unless it is to be kept.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from airlock.core.clock import SYSTEM
from airlock.core.programs import SYSTEM_PATH
from airlock.core.settings import PREFIX, environment
from airlock.identity.local import LocalIssuer
from airlock.identity.scopes import SUPPORTED

HERE = Path(__file__).parent
WORKERS = 2
STOP = 20.0
"""Seconds that a process gets to end by itself."""


class Unable(Exception):
    """The demo cannot run here, and why."""


class Site:
    """One folder and the processes on it."""

    over_http, over_stdio = "catalogue.py", "notes.py"
    """Programs of the servers behind the gateway."""

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.folder = Path(tempfile.mkdtemp(prefix="airlock-demo-"))
        self.folder.chmod(0o711)  # a server with a user of its own walks through it, and lists nothing
        self.data = self.folder / "data"
        self.config = self.folder / "airlock.yaml"
        self.log = self.folder / "gateway.log"
        self.calls = self.folder / "calls.jsonl"
        """What the catalogue received, written by itself."""
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.gateway: subprocess.Popen[bytes] | None = None
        self._catalogue: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Start the server over HTTP, write the configuration, start the gateway. Raises `Unable`."""
        command, variables = stdio_command(self.over_stdio)
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            place = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            program = str(HERE / "servers" / self.over_http)
            self._catalogue = self._start(
                [program, str(listener.fileno()), str(self.folder)],
                log=self.folder / "server.log",
                pass_fds=(listener.fileno(),),
            )
        settings = self.settings(place, command, variables)
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        self.gateway = self._start(["-m", "airlock.cli", "serve", "--config", str(self.config)], log=self.log)

    def settings(self, place: str, command: list[str], variables: Mapping[str, str]) -> dict[str, Any]:
        """What stands in `airlock.yaml`: `place` of the server over HTTP, command and environment of the
        one over stdio."""
        return configuration(self.port, self.url, catalogue=place, notes=command, variables=variables)

    def close(self) -> None:
        """Nothing runs and nothing lies around afterwards."""
        self.stop_gateway()
        _end(self._catalogue)
        self._catalogue = None
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop_gateway(self) -> int | None:
        """Let the gateway drain; its exit status, None where none runs."""
        gateway, self.gateway = self.gateway, None
        return _end(gateway)

    def workers(self) -> list[int]:
        """Process ids of the gateway's workers now."""
        if self.gateway is None:
            return []
        pid = self.gateway.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if _is_worker(child)]

    def token(self, subject: str, *, role: str, tenant: str = "acme", signed_in: bool = False) -> str:
        """A demo token of this gateway; `signed_in`: it says that the subject signed in at this moment."""
        issuer = LocalIssuer.open(self.data, self.url)
        return issuer.issue(
            subject=subject,
            tenant=tenant,
            roles=(role,),
            groups=(),
            scopes=SUPPORTED,
            ttl=600,
            audience="",
            signed_in=signed_in,
            now=SYSTEM.wall(),
        )

    def environment(self) -> dict[str, str]:
        """Ours, without what would change the gateway's configuration; temporary files go with the folder."""
        ours = {
            name: value
            for name, value in environment().items()
            if not name.startswith(PREFIX) and name != "LOG_LEVEL"
        }
        return {**ours, "TMPDIR": str(self.folder)}

    def _start(
        self, arguments: list[str], *, log: Path, pass_fds: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        tied = [sys.executable, "-m", "airlock.cli.demo.tied", str(os.getpid()), sys.executable]
        with log.open("ab") as output:
            # A session of its own: Ctrl-C is for the demo, which then ends the others in order.
            return subprocess.Popen(  # noqa: S603  (this interpreter and programs of this package)
                [*tied, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                pass_fds=pass_fds,
                start_new_session=True,
            )


def configuration(
    port: int, url: str, *, catalogue: str, notes: list[str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """What stands in `airlock.yaml`."""
    return {
        "data_dir": "data",
        "server": {"port": port, "public_url": url, "workers": WORKERS, "drain": "3s"},
        "policy": {"path": str(HERE / "policy")},
        "rate_limiting": {"per_token": "6000/min", "burst": 1000, "per_ip": "60000/min"},
        "incident": {"auto_contain": []},  # its callers ask again and again
        "servers": [
            {
                "name": "notes",
                "transport": "stdio",
                "command": notes,
                "env": dict(variables),
                "tenant": "acme",
                "sensitivity": "low",
                "era": "modern",
                "tools": {"list_notes": {"read_only": True}, "read_note": {"read_only": True}},
            },
            {
                "name": "catalogue",
                "transport": "http",
                "url": catalogue,
                "sensitivity": "low",
                "era": "modern",
                "tools": {"price": {"read_only": True}},
            },
        ],
    }


def stdio_command(name: str) -> tuple[list[str], dict[str, str]]:
    """The command of a stdio server and its environment, in which nothing of ours is left.

    Under root it runs as a user of its own, which must be able to read interpreter, packages and program.
    Raises `Unable` where it is not.
    """
    program, interpreter = HERE / "servers" / name, Path(sys.executable)
    spec = importlib.util.find_spec("mcp")
    if spec is None or spec.origin is None:
        raise Unable("the official MCP SDK is not installed")
    packages = Path(spec.origin).parents[1]
    if os.geteuid() == 0:
        for path in (program, packages):
            if not open_to_all(path):
                raise Unable(
                    "under root a stdio server runs as a user of its own, which cannot read "
                    f"{path}: install Airlock where every user may read it, or run the demo as another user"
                )
        if not open_to_all(interpreter):
            interpreter = _system_python()
    return [str(interpreter), str(program)], {"PYTHONPATH": str(packages)}


def _system_python() -> Path:
    """The same version of Python where every user may run it."""
    name = f"python3.{sys.version_info.minor}"
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise Unable(
            f"under root a stdio server runs as a user of its own, which cannot run {sys.executable}: "
            f"install {name} in the system, or run the demo as another user"
        )
    return Path(found)


def open_to_all(path: Path) -> bool:
    """Whether every user may walk to a path, links followed, and read what is there."""
    for place in (path.absolute(), path.resolve()):
        if not all(parent.stat().st_mode & stat.S_IXOTH for parent in place.parents):
            return False
    return bool(path.stat().st_mode & stat.S_IROTH)


def _is_worker(pid: str) -> bool:
    try:
        return b"airlock.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False  # it ended between the two looks


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _end(process: subprocess.Popen[bytes] | None) -> int | None:
    """SIGTERM, and SIGKILL for what is still there after `STOP` seconds."""
    if process is None:
        return None
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
