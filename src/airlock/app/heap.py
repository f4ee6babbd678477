"""The heap of all workers at `http://localhost:PORT/debug/pprof/heap`, for who is on this machine.

1. the first look begins to trace allocations in every worker, for `TRACED` seconds after the last look
2. each worker answers with what holds its memory
3. the answers become one profile in the format of pprof; with `?debug=1` one JSON object

Only loopback is listened on, and a request must name it too: no page of a browser gets an answer. A port that
is taken is said and stops nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from airlock.app.peers import Gathered
from airlock.core.clock import Clock, rfc3339
from airlock.core.heap import Heap, Held, Tracing
from airlock.core.pprof import Frame, Sample, profile

PATH = "/debug/pprof/heap"
TRACED = 300.0
"""Seconds for which allocations are traced after the last look."""

PATIENCE = 60.0
"""Seconds that a look may take: a worker that holds much has much to count."""

HEAD = 8192
"""Bytes of a request."""

SLOW = 5.0
"""Seconds that a peer gets to ask, and to take the answer."""

AT_ONCE = 16
"""Peers at the same time: each is an open file of the process that restarts the others."""

TOP = 1000
"""Places in the JSON answer."""

_TYPES = (("inuse_objects", "count"), ("inuse_space", "bytes"))
_TRACED, _OLDER = "traced", "older"


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


class Refusal(Exception):
    """A request that gets no profile: its status, and one sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def answerer(tracing: Tracing) -> Callable[[], Any]:
    """How a worker answers a look."""

    async def look() -> Heap:
        return await asyncio.to_thread(tracing.look, TRACED)

    return look


class HeapDoor:
    """Listens for those who ask. `ask` gets the answers of all workers within so many seconds."""

    def __init__(
        self, *, ask: Callable[[float], asyncio.Future[Gathered]], clock: Clock, log: Logger
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._log = log
        self._one = asyncio.Lock()
        self._peers = 0

    async def run(self, port: int) -> None:
        """Serve until cancelled. Port 0 serves nobody."""
        if not port:
            return
        try:
            server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=HEAD)
        except OSError as taken:
            what = f"no heap at 127.0.0.1:{port}: {taken.strerror}"
            self._log.warning("config_warning", key="server.debug_port", what=what)
            return
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._peers >= AT_ONCE:
            writer.close()
            return
        self._peers += 1
        try:
            await self._hear(reader, writer)
        finally:
            self._peers -= 1

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            try:
                async with asyncio.timeout(SLOW):
                    target = requested(await reader.readuntil(b"\r\n\r\n"))
                answer = await self._answer(target)
            except asyncio.LimitOverrunError:
                answer = plain(431, "The head of the request is too large.")
            except Refusal as refused:
                answer = plain(refused.status, str(refused))
            async with asyncio.timeout(SLOW):
                writer.write(answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, target: str) -> bytes:
        path, _, query = target.partition("?")
        if path != PATH:
            raise Refusal(404, f"There is only {PATH}, and {PATH}?debug=1 for people.")
        async with self._one:
            gathered = await self._ask(PATIENCE)
        self._log.info("lifecycle", what="heap_profile", acked=gathered.acked, total=gathered.total)
        heaps = [None if each is None else msgspec.convert(each, Heap) for each in gathered.answers]
        if query == "debug=1":
            return response(200, "application/json", msgspec.json.encode(summary(heaps)))
        body = await asyncio.to_thread(pprof, heaps, self._clock.wall())
        return response(200, "application/octet-stream", body)


def requested(head: bytes) -> str:
    """The target of a request. Raises `Refusal` for what is not a GET for this machine by its own name."""
    lines = head.decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    target, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1."):
        raise Refusal(400, "This is not HTTP/1.1.")
    if method != "GET":
        raise Refusal(405, "There is only GET.")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    hosts = [value for name, value in fields if name == "host"]
    if len(hosts) != 1 or hosts[0].rpartition(":")[0] not in ("localhost", "127.0.0.1"):
        raise Refusal(421, "Ask for localhost and the port.")
    if any(_of_a_page(name, value) for name, value in fields):
        raise Refusal(403, "Pages get no answer here.")
    return target


def _of_a_page(name: str, value: str) -> bool:
    """Whether a header tells that a page asks: an image or a link has no `Origin`, and would begin the
    tracing although the page never sees the answer."""
    return name in ("origin", "referer") or (name == "sec-fetch-site" and value.lower() != "none")


def plain(status: int, text: str) -> bytes:
    """An answer in one sentence."""
    return response(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def response(status: int, kind: str, body: bytes) -> bytes:
    """A whole answer, after which the connection ends."""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {kind}\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def pprof(heaps: list[Heap | None], at: float) -> bytes:
    """One profile of all workers, taken at Unix second `at`."""
    samples = (
        Sample(
            stack=held.stack,
            values=(held.objects, held.size),
            labels={"worker": str(slot), "origin": origin},
        )
        for slot, origin, held in _each(heaps)
    )
    comments = [_comment(slot, heap) for slot, heap in enumerate(heaps)]
    return profile(samples, types=_TYPES, comments=comments, at=at)


def summary(heaps: list[Heap | None]) -> dict[str, Any]:
    """The workers, and the places and types that hold most in all of them together."""
    tally: dict[tuple[Frame, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for _, origin, held in _each(heaps):
        # A type says more with what holds it; of a place, the innermost function is the one that allocated.
        place, *callers = held.stack
        holder = callers[0].function if origin == _OLDER and callers else ""
        sums = tally[place, holder, origin]
        sums[0] += held.objects
        sums[1] += held.size
    most = sorted(tally.items(), key=lambda item: item[1][1], reverse=True)[:TOP]
    return {
        "acked": sum(heap is not None for heap in heaps),
        "total": len(heaps),
        "workers": [_worker(slot, heap) for slot, heap in enumerate(heaps)],
        "top": [
            {
                "function": frame.function,
                "holder": holder,
                "file": frame.file,
                "line": frame.line,
                "origin": origin,
                "objects": objects,
                "bytes": size,
            }
            for (frame, holder, origin), (objects, size) in most
        ],
    }


def _each(heaps: list[Heap | None]) -> Iterator[tuple[int, str, Held]]:
    for slot, heap in enumerate(heaps):
        if heap is not None:
            yield from ((slot, _TRACED, held) for held in heap.traced)
            yield from ((slot, _OLDER, held) for held in heap.older)


def _worker(slot: int, heap: Heap | None) -> dict[str, Any]:
    if heap is None:
        return {"slot": slot, "answered": False}
    return {
        "slot": slot,
        "answered": True,
        "pid": heap.pid,
        "resident": heap.resident,
        "traced_since": None if heap.traced_since is None else rfc3339(heap.traced_since),
        "traced": sum(held.size for held in heap.traced),
        "older": sum(held.size for held in heap.older),
    }


def _comment(slot: int, heap: Heap | None) -> str:
    if heap is None:
        return f"worker {slot}: no answer, it is missing here"
    process = f"worker {slot} (pid {heap.pid}, {heap.resident} bytes resident)"
    if heap.traced_since is None:
        return (
            f"{process}: allocations are traced from now on, for {TRACED:.0f} s after the last look; what is "
            "shown is what was there, by type and by the type of its holder"
        )
    return (
        f"{process}: allocations are traced since {rfc3339(heap.traced_since)}; samples with "
        f"origin={_OLDER} are what was there at that moment, by type and by the type of its holder"
    )
