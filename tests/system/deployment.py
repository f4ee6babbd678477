"""A real `airlock serve` in a directory of its own, and what a test asks of it over HTTP and SQL."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import msgspec
import yaml

from airlock.core.clock import SYSTEM
from airlock.identity.local import LocalIssuer
from airlock.identity.scopes import SUPPORTED

MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"


AMPLE = {
    "per_token": "1000000/min", "burst": 65535, "per_ip": "1000000/min", "unauthenticated": "1000000/min",
    "concurrency": {"per_token": 1000},
}  # fmt: skip
"""Limits that no test meets unless it asks for others: all tests come from one address."""


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> dict[str, Any]:
        """The refusal object of a tool error."""
        return self.json["result"]["_meta"]["dev.airlock/refusal"]

    @property
    def text(self) -> str:
        """The text of the first content block."""
        return self.json["result"]["content"][0]["text"]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], Any], *, within: float = 30.0, what: str = "the condition") -> Any:
    """Wait for a condition, not for a time; its value."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not hold within {within} s")


class Deployment:
    """One data directory and the gateway on it. `servers` are entries of the configuration."""

    def __init__(
        self,
        folder: Path,
        servers: Sequence[Mapping[str, Any]] = (),
        *,
        workers: int = 2,
        tls: ssl.SSLContext | None = None,
        **sections: Any,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.tls = tls
        """How a test trusts a gateway with `server.tls`."""
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self.data = folder / "data"
        self.log = folder / "gateway.log"
        self.config = folder / "airlock.yaml"
        own = {"port": self.port, "workers": workers, "public_url": self.url, "debug_port": 0}
        sections["server"] = {**own, **sections.get("server", {})}
        sections.setdefault("rate_limiting", AMPLE)
        sections.setdefault("incident", {"engine": False})  # a process that most tests would only wait for
        self.sections: dict[str, Any] = {"data_dir": "data", **sections, "servers": list(servers)}
        self.write()
        self.process: subprocess.Popen[bytes] | None = None
        self.expected = "ok"
        """State of the upstreams to wait for at the start."""
        self.environment: dict[str, str] = {}
        """Variables that the gateway is started with, beside ours."""

    def write(self) -> None:
        self.config.write_text(yaml.safe_dump(self.sections, sort_keys=False))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until calls are served and every server was read."""
        self.start_unwaited()
        try:
            self.wait_ready(state=self.expected)
        except AssertionError:
            self.stop(signal.SIGKILL)
            raise

    def start_unwaited(self) -> None:
        """Start, and wait for nothing."""
        command = [sys.executable, "-m", "airlock.cli", "serve", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )

    def wait_ready(self, *, state: str = "ok") -> None:
        until(lambda: self._ready(state), within=60, what=f"ready\n{self.tail()}")

    def _ready(self, state: str) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {self.process.returncode}\n{self.tail()}")
        try:
            answer = self.get("/ready")
        except OSError:
            return False
        return answer.status == 200 and answer.json["components"]["upstreams"]["state"] == state

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Drain (or kill the supervisor) and wait for the end; the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self.process = None
        return code

    def tail(self, lines: int = 25) -> str:
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
        )

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        found = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in found if line["event"] == event]

    def children(self, name: str) -> list[int]:
        """Process ids of our children whose command names `name`, such as `airlock.worker`."""
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in path.read_text().split()]
        return [pid for pid in pids if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def token(
        self,
        subject: str = "alice",
        tenant: str = "acme",
        *,
        roles: Sequence[str] = ("developer",),
        scopes: Sequence[str] = SUPPORTED,
        ttl: float = 3600,
        audience: str = "",
        signed_in: bool = False,
    ) -> str:
        issuer = LocalIssuer.open(self.data, self.url)
        return issuer.issue(
            subject=subject,
            tenant=tenant,
            roles=tuple(roles),
            scopes=tuple(scopes),
            ttl=ttl,
            audience=audience,
            signed_in=signed_in,
            now=SYSTEM.wall(),
        )

    def get(self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET") -> Answer:
        return self.send(method, path, None, headers)

    def connection(self) -> http.client.HTTPConnection:
        """A connection, not open yet."""
        if self.tls is not None:
            return http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        with closing(self.connection()) as connection:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())

    def post(
        self,
        body: bytes | dict[str, Any],
        token: str | None,
        *,
        path: str = "/mcp",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One JSON-RPC message; `headers` win over the usual ones."""
        usual = {"Content-Type": "application/json"}
        if token is not None:
            usual["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, {**usual, **(headers or {})})

    def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        token: str,
        *,
        path: str = "/mcp",
        modern: bool = False,
        headers: Mapping[str, str] | None = None,
        id: str | int = 1,
    ) -> Answer:
        """One `tools/call`, as a single legacy request or as a modern one."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        own: dict[str, str] = {}
        if modern:
            params["_meta"] = envelope()
            own = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
        message = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
        return self.post(message, token, path=path, headers={**own, **(headers or {})})

    def tools(self, token: str, *, path: str = "/mcp") -> list[str]:
        """The names in `tools/list`."""
        answer = self.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, token, path=path)
        assert answer.status == 200, answer.body
        return [tool["name"] for tool in answer.json["result"]["tools"]]

    def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """A read of `audit.db` as it is now; see `recorded` for waiting."""
        with closing(
            sqlite3.connect(f"file:{self.data / 'audit.db'}?mode=ro", uri=True, timeout=10)
        ) as database:
            return database.execute(sql, arguments).fetchall()

    def recorded(self, where: str, *arguments: object, count: int = 1) -> list[dict[str, Any]]:
        """Rows of `audit_events` that match, once there are `count` of them."""
        sql = f"SELECT * FROM audit_events WHERE {where} ORDER BY timestamp"  # noqa: S608 - a test's own text

        def found() -> list[dict[str, Any]] | None:
            with closing(sqlite3.connect(f"file:{self.data / 'audit.db'}?mode=ro", uri=True)) as database:
                database.row_factory = sqlite3.Row
                rows = [dict(row) for row in database.execute(sql, arguments)]
            return rows if len(rows) >= count else None

        return until(found, what=f"{count} rows where {where} {arguments}\n{self.tail()}")

    def airlock(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command line, on this deployment's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "airlock.cli", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **environment},
        )


def envelope(capabilities: dict[str, Any] | None = None) -> dict[str, Any]:
    """`_meta` of a modern request."""
    return {
        f"{META}protocolVersion": MODERN,
        f"{META}clientCapabilities": capabilities or {},
        f"{META}clientInfo": {"name": "test", "version": "1"},
    }
