"""Other MCP proxies and gateways from PyPI, in the same run: same server, same load, same core.

Each is installed at its pinned version into a folder of its own, and set up so that it keeps its session with
the server open where it can: without that, most of its time goes into opening one for each call. As they are
set up here, none asks a policy, redacts, or writes a record that is flushed before the answer.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import msgspec

from bench import accounts, figures, saturate
from bench.rig import CORES, Rig
from tests.system.deployment import free_port, until

CACHE = Path(".cache/bench/peers")
READY_WITHIN = 90.0
LEGACY = "2025-11-25"
WARM = 3
"""Seconds of load before what is measured: first calls open connections and fill caches."""
_SECRET = "bench-only-" + "0123456789abcdef" * 3
_ADMIN = "admin@example.com"


class Started(msgspec.Struct, frozen=True):
    """A peer that runs, or how to run it."""

    command: tuple[str, ...]
    environment: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    name: str
    package: str
    """What is installed, version included."""
    does: str
    tool: str = "search"
    """The name under which it offers the tool."""
    start: Callable[[Path, int, str, Path], Started]
    """From its folder of programs, its port, the server's URL and a folder for its data."""
    settle: Callable[[Path, int, str], str] | None = None
    """Tells it about the server, from its programs, its port and the server's URL; the token of calls."""


def chosen(names: str) -> list[Peer]:
    """The peers of these names. Raises `SystemExit` for one that there is not."""
    known = {peer.name: peer for peer in PEERS}
    if unknown := set(names.split()) - known.keys():
        raise SystemExit(f"bench: BENCH_PEERS names {sorted(unknown)}; there are {sorted(known)}")
    return [known[name] for name in names.split()]


def install(peer: Peer) -> Path:
    """The folder of its programs. Raises `CalledProcessError` where it cannot be installed."""
    folder = CACHE / peer.package.replace("==", "-")
    if not (folder / "complete").exists():
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, str(folder)], check=True)
        python = str(folder / "bin/python")
        subprocess.run([uv, "pip", "install", "-q", "--python", python, peer.package], check=True)
        (folder / "complete").touch()
    return (folder / "bin").absolute()


def measure(peer: Peer, rig: Rig, *, seconds: int) -> figures.PeerRound:
    """nginx, and then this peer, under full load. `failed` says why a peer did not start or answer."""
    try:
        with running(peer, rig.upstream_url) as (pid, port, token):
            base = saturate.round_of(rig, "nginx", seconds=seconds)
            _load(peer, port, token, WARM)
            before, start = tree_seconds(pid), time.monotonic()
            load = _load(peer, port, token, seconds)
            used, wall = tree_seconds(pid) - before, time.monotonic() - start
    except (RuntimeError, ValueError, AssertionError, OSError, subprocess.SubprocessError) as error:
        return figures.PeerRound(
            name=peer.name, package=peer.package, does=peer.does, failed=str(error)[:200]
        )
    return figures.PeerRound(
        name=peer.name,
        package=peer.package,
        does=peer.does,
        rate=load.rate,
        of_nginx=load.rate / base.rate,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        cpu_us=used * 1e6 / load.requests,
        times_nginx=used * 1e6 / load.requests / base.cpu_us,
        core=used / wall,
    )


def _load(peer: Peer, port: int, token: str, seconds: int) -> figures.Load:
    """In a session of its own: wrk breaks off calls when it ends, and some peers their session with them."""
    session = _open_session(port, token)
    with tempfile.NamedTemporaryFile("w", suffix=".tokens") as tokens:
        tokens.write(f"{token}\n")
        tokens.flush()
        return saturate.wrk(
            port, Path(tokens.name), seconds=seconds, only=peer.tool, era="legacy", session=session
        )


def _open_session(port: int, token: str) -> str:
    """Shake hands as a client of 2025-11-25 does; the id of the session, or nothing where it has none."""
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    with _send(port, "/mcp", hello, token) as answer:
        session = answer.headers.get("Mcp-Session-Id", "")
        answer.read()
    with _send(
        port, "/mcp", {"jsonrpc": "2.0", "method": "notifications/initialized"}, token, session
    ) as answer:
        answer.read()
    return session


@contextmanager
def running(peer: Peer, upstream: str) -> Generator[tuple[int, int, str]]:
    """Start it on core 0; its process id, its port, and the token of calls. It ends with the block."""
    programs, port = install(peer), free_port()
    with tempfile.TemporaryDirectory(prefix="airlock-bench-peer-", ignore_cleanup_errors=True) as data:
        how = peer.start(programs, port, upstream, Path(data))
        with (Path(data) / "log").open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", str(CORES[0]), *how.command],
                env={**os.environ, **how.environment},
                cwd=data, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            until(lambda: _answers(port), within=READY_WITHIN, what=f"{peer.name} on port {port}")
            token = "none" if peer.settle is None else peer.settle(programs, port, upstream)
            yield process.pid, port, token
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def tree_seconds(pid: int) -> float:
    """CPU time of a process and of all that it started and that still run."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return accounts.cpu_seconds(pid) + sum(tree_seconds(int(child)) for child in children)


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=2):
            return True
    except URLError as error:
        return hasattr(error, "code")
    except OSError:
        return False


def _fastmcp(programs: Path, port: int, upstream: str, data: Path) -> Started:
    script = Path(__file__).with_name("fastmcp_proxy.py")
    return Started((str(programs / "python"), str(script), upstream, str(port)), {"HOME": str(data)})


def _mcp_proxy(programs: Path, port: int, upstream: str, data: Path) -> Started:
    program = str(programs / "mcp-proxy")
    inner = (program, "--transport", "streamablehttp", "--log-level", "ERROR", upstream)
    outer = (program, "--stateless", "--port", str(port), "--log-level", "ERROR", "--pass-environment")
    return Started((*outer, "--", *inner), {"HOME": str(data)})


def _context_forge(programs: Path, port: int, upstream: str, data: Path) -> Started:
    environment = {
        **_FORGE,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": f"sqlite:///{data}/forge.db",
        "HOME": str(data),
    }
    options = ("--host", "127.0.0.1", "--port", str(port), "--log-level", "error")
    return Started((str(programs / "mcpgateway"), *options), environment)


_FORGE = {
    "AUTH_REQUIRED": "true",
    "JWT_SECRET_KEY": _SECRET,
    "PLATFORM_ADMIN_EMAIL": _ADMIN,
    "PLATFORM_ADMIN_PASSWORD": _SECRET,
    "MCPGATEWAY_UI_ENABLED": "false",
    "LOG_LEVEL": "ERROR",
    "CACHE_TYPE": "memory",
    "SSRF_ALLOW_LOCALHOST": "true",
    "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
    "RATE_LIMITING_ENABLED": "false",
    "USE_STATEFUL_SESSIONS": "true",
}


def _register(programs: Path, port: int, upstream: str) -> str:
    """Make the token that calls carry, and register the server with it."""
    command = [
        str(programs / "python"), "-m", "mcpgateway.utils.create_jwt_token",
        "--username", _ADMIN, "--exp", "600", "--secret", _SECRET, "--admin",
    ]  # fmt: skip
    made = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **_FORGE}, cwd=programs
    )
    token = made.stdout.split()[-1]
    until(lambda: _post(port, "/gateways", token, _gateway(upstream)), within=30, what="registration")
    return token


def _gateway(upstream: str) -> Mapping[str, Any]:
    return {"name": "up", "url": upstream, "transport": "STREAMABLEHTTP"}


def _post(port: int, path: str, token: str, body: Mapping[str, Any]) -> bool:
    try:
        with _send(port, path, body, token):
            return True
    except URLError:
        return False


def _send(port: int, path: str, body: Mapping[str, Any], token: str, session: str = "") -> HTTPResponse:
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    headers |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY} if session else {}
    request = Request(f"http://127.0.0.1:{port}{path}", msgspec.json.encode(body), headers)
    return urlopen(request, timeout=30)  # noqa: S310 - loopback


PEERS = (
    Peer(
        name="fastmcp",
        package="fastmcp==4.1.2",
        does="proxy of one server; no token, no policy, no record",
        start=_fastmcp,
    ),
    Peer(
        name="mcp-proxy",
        package="mcp-proxy==0.13.0",
        does="HTTP to stdio and back to HTTP, two processes; no token, no policy, no record",
        start=_mcp_proxy,
    ),
    Peer(
        name="contextforge",
        package="mcp-contextforge-gateway==1.0.7.post20260921",
        does="token and roles; SQLite, limits and user interface off",
        tool="up-search",
        start=_context_forge,
        settle=_register,
    ),
)
"""All that there are, by their names in `BENCH_PEERS`."""
