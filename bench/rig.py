"""The programs under test: one MCP server, nginx and one gateway worker in front of it, each on its core.

Core 0 has what is measured: nginx and the gateway's worker, never both under load. Core 1 has everything
else: generator, MCP server, supervisor, runner, and the projector, whose time is measured too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from socket import create_connection

import msgspec

from airlock.core.clock import SYSTEM
from airlock.identity.local import LocalIssuer
from airlock.identity.scopes import SUPPORTED
from bench import accounts
from bench.calls import PRINCIPALS
from tests.system.deployment import Deployment, free_port, until

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0))[:2]
"""Core 0 and core 1 of the report: the first two that we may use."""

DRAINED_WITHIN = 120.0

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


class Rig(msgspec.Struct, frozen=True):
    """What runs."""

    gateway: Deployment
    nginx_port: int
    pids: dict[str, int]
    """`nginx` (its worker), `worker`, `projector`, `supervisor`, `runner`, and the MCP server: `upstream`."""
    tokens: Path
    """A token of every principal, one a line."""
    upstream_url: str
    """Where the MCP server answers."""

    def port(self, front: str) -> int:
        """Where `nginx` or the gateway listens."""
        return self.nginx_port if front == "nginx" else self.gateway.port

    def read(self) -> accounts.Reading:
        return accounts.read(self.pids)

    def drain(self) -> None:
        """Wait until the projector has done all that is durable."""
        until(lambda: not accounts.backlog(self.gateway.data), within=DRAINED_WITHIN, what="projection")


@contextmanager
def running(names: Sequence[str] = ("low", "medium"), **environment: str) -> Generator[Rig]:
    """Start all of it, the gateway in this environment too; end and remove all of it.

    `names` are those of its servers; `low` is approved as read-only and of low sensitivity.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(workspace()))
        upstream, front = free_port(), free_port()
        server = stack.enter_context(
            process(upstream, sys.executable, str(HERE / "upstream.py"), str(upstream))
        )
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=upstream, port=front))
        master = stack.enter_context(process(front, nginx(), "-c", str(folder / "nginx.conf")))
        stack.enter_context(_environment(environment))
        gateway = stack.enter_context(Deployment(folder, _servers(names, upstream), workers=1))
        pids = _named(gateway, server, master)
        for name in ("nginx", "worker"):
            pin(pids[name], CORES[0])
        yield Rig(
            gateway=gateway, nginx_port=front, pids=pids, tokens=_tokens(gateway), upstream_url=_url(upstream)
        )


def nginx() -> str:
    """Where the program is; Debian keeps it off the PATH of people."""
    return shutil.which("nginx") or "/usr/sbin/nginx"


def workspace() -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed with everything in it."""
    return tempfile.TemporaryDirectory(prefix="airlock-bench-", ignore_cleanup_errors=True)


def _servers(names: Sequence[str], port: int) -> list[dict[str, object]]:
    each: list[dict[str, object]] = [{"name": one, "transport": "http", "url": _url(port)} for one in names]
    harmless = {"sensitivity": "low", "read_only": True}
    return [server | harmless if server["name"] == "low" else server for server in each]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/mcp"


@contextmanager
def process(port: int, *command: str) -> Generator[int]:
    """A program that listens on `port`, until the block ends; its process id."""
    process = subprocess.Popen(command)
    try:
        until(lambda: _listens(port), what=f"{command[0]} on port {port}")
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    try:
        with closing(create_connection(("127.0.0.1", port), timeout=1)):
            return True
    except OSError:
        return False


def slower_flush(milliseconds: float) -> dict[str, str]:
    """The environment in which a gateway flushes that much more slowly."""
    path = os.pathsep.join(filter(None, (str(HERE / "slow_disk"), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "BENCH_FLUSH_MS": str(milliseconds)}


@contextmanager
def _environment(changes: Mapping[str, str]) -> Generator[None]:
    """For every program that starts inside the block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _named(gateway: Deployment, server: int, master: int) -> dict[str, int]:
    assert gateway.process is not None  # noqa: S101 - it was started a line before
    children = Path(f"/proc/{master}/task/{master}/children")
    return {
        "nginx": int(until(lambda: children.read_text().split(), what="a worker of nginx")[0]),
        "upstream": server,
        "supervisor": gateway.process.pid,
        "worker": gateway.children("airlock.worker")[0],
        "projector": gateway.children("airlock.audit.projector")[0],
        "runner": gateway.children("airlock.upstream.runner")[0],
    }


def pin(pid: int, core: int) -> None:
    """Hold all threads of a process to one core; those that they start inherit it."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def _tokens(gateway: Deployment) -> Path:
    path = gateway.folder / "tokens"
    issuer = LocalIssuer.open(gateway.data, gateway.url)
    now = SYSTEM.wall()
    lines = (
        issuer.issue(
            subject=f"agent-{number}",
            tenant="acme",
            roles=("developer",),
            scopes=tuple(SUPPORTED),
            ttl=3600,
            now=now,
        )
        for number in range(PRINCIPALS)
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def read_tokens(path: Path) -> Sequence[str]:
    """What `Rig.tokens` holds."""
    return path.read_text().split()
