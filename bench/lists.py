"""`tools/list` over 50 servers and 2,000 tools, and what a dead and a hanging server beside them add to it.

Two gateways, one with 50 servers that answer, one with two more that do not, are asked in turn, each over one
connection that stays open. Callers of two kinds take turns too: policy shows one of them everything and the
other a half. Then the first with a tool in quarantine, and the other with pages. Every list is made once
before it is timed, is read to its end, and is counted.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec

from bench import figures, rig
from bench.calls import META, VERSION
from bench.upstream import MANY
from tests.system.deployment import Deployment, free_port, until

SERVERS = int(os.environ.get("BENCH_LISTS", "50"))
TOOLS = SERVERS * MANY
PAGE = 100
"""Tools of a page where a list has several."""
ROLES = {"developer": TOOLS, "viewer": TOOLS // 2}
"""Who asks, and how many tools policy shows to it."""

_decode = msgspec.json.decode


class Asked(msgspec.Struct, frozen=True):
    """One list, read to its end."""

    tools: int
    pages: int
    size: int
    """Bytes of all answers."""
    first_ms: float
    """Until the first page was read."""
    whole_ms: float


class Client:
    """One caller on one connection."""

    def __init__(self, gateway: Deployment, role: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Authorization": f"Bearer {gateway.token(role, roles=[role])}",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": "tools/list",
        }

    def close(self) -> None:
        self._connection.close()

    def ask(self) -> Asked:
        """All pages of `tools/list`. Raises `RuntimeError` for an answer that is none."""
        taken: list[float] = []
        tools = size = 0
        cursor: dict[str, str] = {}
        while not taken or cursor:
            begin = time.perf_counter()
            answer = self._page(cursor)
            taken.append((time.perf_counter() - begin) * 1000)
            result = _decode(answer)["result"]
            tools, size = tools + len(result["tools"]), size + len(answer)
            cursor = {"cursor": result["nextCursor"]} if "nextCursor" in result else {}
        return Asked(tools=tools, pages=len(taken), size=size, first_ms=taken[0], whole_ms=sum(taken))

    def _page(self, cursor: Mapping[str, str]) -> bytes:
        params: dict[str, Any] = {**cursor, "_meta": META}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
        self._connection.request("POST", "/mcp", msgspec.json.encode(message), self._headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != HTTPStatus.OK:
            raise RuntimeError(f"tools/list was answered {response.status}: {body[:200]!r}")
        return body


def measure(*, seconds: int) -> figures.Lists:
    """All of it, about `seconds` for each way to ask. Raises `RuntimeError` for a list of wrong length."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(rig.workspace()))
        port = free_port()
        program = str(rig.HERE / "upstream.py")
        stack.enter_context(rig.process(port, sys.executable, program, str(port)))
        sound = _servers(port)
        troubled = [*sound, *stack.enter_context(_trouble())]
        one = stack.enter_context(_gateway(folder / "sound", sound))
        other = stack.enter_context(_gateway(folder / "troubled", troubled, expected="degraded"))
        rows, ratio = _in_turn(one, other, seconds)
        _quarantine(one)
        rows += _rows("a tool in quarantine", _asked(seconds, one, less=1))
        _page(other)
        rows += _rows(f"in pages of {PAGE}", _asked(seconds, other))
        return figures.Lists(rows=rows, troubled=ratio, servers=SERVERS)


def _in_turn(one: Deployment, other: Deployment, seconds: int) -> tuple[list[figures.Listing], float]:
    """The rows of both gateways, and the median of the ratios between neighbours in time."""
    found = _asked(seconds, one, other)
    pairs = zip(*found.values(), strict=True)
    half = len(ROLES)
    ratios = [
        after.whole_ms / before.whole_ms
        for pair in pairs
        for before, after in zip(pair[:half], pair[half:], strict=True)
    ]
    named = list(found.items())
    rows = _rows("all answer", dict(named[:half])) + _rows("one dead, one hanging", dict(named[half:]))
    return rows, statistics.median(ratios)


def _asked(seconds: int, *gateways: Deployment, less: int = 0) -> dict[tuple[int, str], list[Asked]]:
    """What callers of each role saw at each gateway, in turn, for so many seconds. `less`: tools that nobody
    sees."""
    with ExitStack() as stack:
        clients = {
            (number, role): stack.enter_context(closing(Client(gateway, role)))
            for number, gateway in enumerate(gateways)
            for role in ROLES
        }
        for (_, role), client in clients.items():
            if (tools := client.ask().tools) != ROLES[role] - less:
                raise RuntimeError(f"{role} sees {tools} tools, not {ROLES[role] - less}")
        found: dict[tuple[int, str], list[Asked]] = {key: [] for key in clients}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, client in clients.items():
                found[key].append(client.ask())
        return found


def _rows(what: str, found: Mapping[tuple[int, str], Sequence[Asked]]) -> list[figures.Listing]:
    return [
        figures.Listing(
            what=what,
            who=role,
            tools=asked[0].tools,
            pages=asked[0].pages,
            kib=asked[0].size / 1024,
            first=figures.Latency.of([one.first_ms for one in asked]),
            whole=figures.Latency.of([one.whole_ms for one in asked]),
        )
        for (_, role), asked in found.items()
    ]


def _quarantine(gateway: Deployment) -> None:
    """Take a tool that everybody may see out of service."""
    selector = {"server": "s01", "tool": "s01_task_00"}
    order = {"action": "tool.quarantine", "selector": selector, "ttl": "1h", "reason": "bench"}
    headers = {"Authorization": f"Bearer {gateway.token('operator', roles=['admin'])}"}
    answer = gateway.send("POST", "/api/v1/leases", msgspec.json.encode(order), headers)
    if answer.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise RuntimeError(f"the lease was answered {answer.status}")


def _page(gateway: Deployment) -> None:
    """Have it give lists in pages of `PAGE`."""
    gateway.sections["lists"] = {"page": PAGE}
    gateway.write()
    assert gateway.process is not None  # noqa: S101 - it runs
    gateway.process.send_signal(signal.SIGHUP)
    client = Client(gateway, "developer")
    with closing(client):
        until(lambda: client.ask().pages > 1, what="lists in pages")


def _servers(port: int) -> list[dict[str, Any]]:
    """Half of them with tools that everybody may see."""
    harmless = {"sensitivity": "low", "read_only": True}
    return [
        {"name": name, "transport": "http", "url": f"http://127.0.0.1:{port}/{name}/mcp"}
        | (harmless if number % 2 else {})
        for number, name in ((number, f"s{number:02}") for number in range(SERVERS))
    ]


@contextmanager
def _trouble() -> Generator[list[dict[str, Any]]]:
    """A server at a port that nobody listens on, and one that takes connections and says nothing."""
    with closing(socket.socket()) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(64)
        ports = {"dead": free_port(), "hanging": mute.getsockname()[1]}
        yield [
            {"name": name, "transport": "http", "url": f"http://127.0.0.1:{port}/mcp"}
            for name, port in ports.items()
        ]


@contextmanager
def _gateway(
    folder: Path, servers: Sequence[Mapping[str, Any]], *, expected: str = "ok"
) -> Generator[Deployment]:
    folder.mkdir()
    gateway = Deployment(folder, servers, workers=1)
    gateway.expected = expected
    with gateway:
        rig.pin(gateway.children("airlock.worker")[0], rig.CORES[0])
        yield gateway
