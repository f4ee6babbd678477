"""A thousand tool calls that are under way at once: what each holds in memory, and how soon all can be cut.

Each is a stream of its own connection and principal, and its server tells of progress four times a second.
They are spread over servers, because one is asked 64 things at a time at most.

First the token of one principal is revoked, then the tenant of all is isolated, each by one lease; a stream
is timed until its last byte. This client does little: a blocking socket for each stream while they are
opened, one `epoll` while they are cut.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import msgspec

from bench import figures, rig
from bench.calls import META
from tests.system.deployment import Deployment

COUNT = int(os.environ.get("BENCH_STREAMS", "1000"))
SERVERS = tuple(f"s{number:02}" for number in range(16))
PATIENCE = 240.0
LEFT_WITHIN = 30.0
"""Seconds for the gateway to let go of what it held."""
SECOND = 1.2
"""Seconds after which a worker has said anew how many tasks it has."""

AT_ONCE = 50
"""Connections that are opened side by side: what is measured is holding them, not a burst."""

ROOM = {"AIRLOCK__SERVER__MAX_CONNECTIONS": str(COUNT + 100)}
"""What the gateway needs beyond its defaults to hold them."""

_LAST = b"0\r\n\r\n"
"""The end of an answer in chunks."""


class Stream:
    """One request whose answer does not end by itself. It is open when `first` was heard."""

    def __init__(self, token: str, request: bytes, first: bytes = b"notifications/progress") -> None:
        self.token = token
        self.ended = 0.0
        """Monotonic seconds; 0: not yet."""
        self.socket = socket.socket()
        self._request, self._first = request, first

    def connect(self, port: int) -> None:
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(self._request)

    def close(self) -> None:
        self.socket.close()

    def greet(self) -> None:
        """What has to be said before, where there is something."""

    def begin(self) -> None:
        """Wait for the first event. Raises `RuntimeError` where the stream is refused."""
        self.read(self._first)
        self.socket.setblocking(False)

    def read(self, until: bytes) -> bytes:
        """All that came up to a read in which this is. Raises `RuntimeError` for an answer without it."""
        found = b""
        while until not in found:
            more = self.socket.recv(65536)
            found += more
            if not more or found.endswith(_LAST) or not found.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"no stream: {found[:1000]!r}")
        return found

    def hear(self) -> None:
        """Something came."""
        data = self.socket.recv(65536)
        if not data or data.endswith(_LAST):
            self.ended = time.monotonic()


def measure() -> figures.Streams:
    """All of it, on a gateway of its own. Raises `RuntimeError` where a stream is refused or stays."""
    with rig.running(SERVERS, **ROOM) as usual:
        tokens, port = rig.read_tokens(usual.tokens), usual.gateway.port
        return cut(usual, [_call(port, number, tokens[number]) for number in range(COUNT)])


def cut(usual: rig.Rig, streams: Sequence[Stream]) -> figures.Streams:
    """Open them, revoke a token, isolate their tenant, wait for their ends. Raises `RuntimeError` where one
    is refused or stays, or where the gateway holds more afterwards than before."""
    worker, count = usual.pids["worker"], len(streams)
    held, before, start = _settled(usual), resident(worker), time.monotonic()
    try:
        for first in range(0, count, AT_ONCE):
            _open(streams[first : first + AT_ONCE], usual.gateway.port)
        opened, each = time.monotonic() - start, (resident(worker) - before) / count / 1024
        usual.drain()
        first, rest = streams[0].token, [one for one in streams if one.token != streams[0].token]
        with _watching(streams) as watched:
            revoke = {"action": "token.revoke", "selector": {"token": _id(first)}}
            revoked, _ = _ended(usual, revoke, [one for one in streams if one.token == first], watched)
            if any(one.ended for one in rest):
                raise RuntimeError("a stream of another principal was cut")
            with _knocking(usual.gateway.port) as waits:
                isolate = {"action": "tenant.isolate", "selector": {"tenant": "acme"}, "ttl": "5m"}
                ends, cpu = _ended(usual, isolate, rest, watched)
    finally:
        for stream in streams:
            stream.close()
    return figures.Streams(
        count=count,
        kib_each=each,
        opened_s=opened,
        revoked=revoked,
        cut=ends,
        cpu_ms=cpu,
        stalled_ms=max(waits) * 1000,
        left=_left(usual, held),
    )


def _settled(usual: rig.Rig) -> figures.Held:
    """What is held once nothing more begins by itself."""
    last = holding(usual)
    while True:
        time.sleep(SECOND)
        now = holding(usual)
        if now == last:
            return now
        last = now


def _open(streams: Sequence[Stream], port: int) -> None:
    for stream in streams:
        stream.connect(port)
    for stream in streams:
        stream.greet()
    for stream in streams:
        stream.begin()


class _Watch:
    """Reads whatever comes on any of them."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._by = {stream.socket.fileno(): stream for stream in streams}
        self._epoll = select.epoll()
        for number in self._by:
            self._epoll.register(number, select.EPOLLIN)

    def turn(self) -> None:
        for number, _ in self._epoll.poll(0.01, maxevents=512):
            stream = self._by[number]
            stream.hear()
            if stream.ended:
                self._epoll.unregister(number)

    def close(self) -> None:
        self._epoll.close()


@contextmanager
def _watching(streams: Sequence[Stream]) -> Generator[_Watch]:
    with closing(_Watch(streams)) as watched:
        yield watched


def _ended(
    usual: rig.Rig, lease: Mapping[str, object], streams: Sequence[Stream], watched: _Watch
) -> tuple[figures.Latency, float]:
    """When these streams end after this lease is ordered, in milliseconds, and what the worker had of its
    core until the last."""
    worker, answers = usual.pids["worker"], list[int]()
    order, begun = time.monotonic(), on_core(worker)
    asking = threading.Thread(target=lambda: answers.append(_order(usual.gateway, lease)))
    asking.start()
    while not all(one.ended for one in streams) and time.monotonic() < order + PATIENCE:
        watched.turn()
    took = on_core(worker) - begun
    asking.join()
    if not {*answers} <= {HTTPStatus.OK, HTTPStatus.MULTI_STATUS}:  # 207: some are still being cut
        raise RuntimeError(f"the lease was answered {answers}")
    if stay := sum(not one.ended for one in streams):
        raise RuntimeError(f"{stay} streams were not cut")
    return figures.Latency.of([(one.ended - order) * 1000 for one in streams]), took


def _order(gateway: Deployment, lease: Mapping[str, object]) -> int:
    admin = {"Authorization": f"Bearer {gateway.token('operator', tenant='house', roles=['admin'])}"}
    body = msgspec.json.encode({**lease, "reason": "bench"})
    return gateway.send("POST", "/api/v1/leases", body, admin).status


def _id(token: str) -> str:
    payload = token.split(".")[1]
    return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]


@contextmanager
def _knocking(port: int) -> Generator[list[float]]:
    """Ask the worker for a sign of life, again and again, in a thread; how many seconds each took."""
    over, waits = threading.Event(), [0.0]

    def work() -> None:
        with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            while not over.wait(0.005):
                start = time.monotonic()
                connection.request("GET", "/live")
                connection.getresponse().read()
                waits.append(time.monotonic() - start)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


def _left(usual: rig.Rig, before: figures.Held) -> figures.Held:
    """What is held more than before, once that is nothing. Raises `RuntimeError` where it stays."""
    end = time.monotonic() + LEFT_WITHIN
    while True:
        now = holding(usual)
        left = figures.Held(
            files=max(0, now.files - before.files),
            tasks=max(0, now.tasks - before.tasks),
            processes=max(0, now.processes - before.processes),
        )
        if left == figures.Held(files=0, tasks=0, processes=0):
            return left
        if time.monotonic() > end:
            raise RuntimeError(f"the gateway holds {now}, {before} before the streams")
        time.sleep(0.2)


def holding(usual: rig.Rig) -> figures.Held:
    """What is held now; the tasks are those of the last second."""
    text = usual.gateway.send("GET", "/metrics", None).body.decode()
    (tasks,) = (line.split()[1] for line in text.splitlines() if line.startswith("airlock_tasks "))
    worker, supervisor = usual.pids["worker"], usual.pids["supervisor"]
    files = len(os.listdir(f"/proc/{worker}/fd"))
    return figures.Held(files=files, tasks=int(float(tasks)), processes=_family(supervisor))


def _family(pid: int) -> int:
    """A process with all that it started, and so on."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except FileNotFoundError:
        return 0
    return 1 + sum(_family(int(child)) for text in lists for child in text.split())


def resident(pid: int) -> int:
    """Bytes of memory that a process holds alone."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel tells no private memory")


def on_core(pid: int) -> float:
    """Milliseconds for which the first thread of a process had a core."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e6


def _call(port: int, number: int, token: str) -> Stream:
    tool = f"{SERVERS[number % len(SERVERS)]}__watch"
    params = {"name": tool, "arguments": {}, "_meta": {**META, "progressToken": "t"}}
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    return Stream(
        token,
        b"POST /mcp HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: %b\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (port, token.encode(), tool.encode(), len(body), body),
    )
