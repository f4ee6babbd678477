"""The heap of all workers, for whoever is on this machine and asks for it by its own name."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from typing import Any, cast

import msgspec
import pytest

from airlock.app import heap
from airlock.app.heap import HeapDoor, Refusal, requested
from airlock.app.peers import Gathered
from airlock.core.heap import Heap, Held
from airlock.core.pprof import Frame
from tests.core.protobuf import fields
from tests.gateway.parts import NOW, HandClock, Lines

LEAK = Frame("app.leak", "/srv/app.py", 12, 10)
OLD = (Frame("bytes"), Frame("held by list"))
FIRST = Heap(pid=7, resident=500, traced_since=None, traced=(), older=(Held(OLD, 2, 20),))
LATER = Heap(
    pid=8, resident=600, traced_since=NOW, traced=(Held((LEAK, LEAK), 3, 300),), older=(Held(OLD, 1, 10),)
)
ASKED = b"GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost:6060\r\n\r\n"


def ask(*requests: bytes, heaps: tuple[Heap | None, ...] = (FIRST, LATER)) -> list[tuple[bytes, bytes]]:
    """Head and body of the answer to each request."""

    async def scenario() -> list[tuple[bytes, bytes]]:
        def gathered(patience: float) -> asyncio.Future[Gathered]:
            future: asyncio.Future[Gathered] = asyncio.get_running_loop().create_future()
            future.set_result(Gathered(tuple(each and msgspec.to_builtins(each) for each in heaps)))
            return future

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        lines = Lines()
        serving = asyncio.create_task(HeapDoor(ask=gathered, clock=HandClock(), log=lines).run(port))
        answers = [await _answer(port, request) for request in requests]
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        return answers

    return asyncio.run(scenario())


async def _answer(port: int, request: bytes) -> tuple[bytes, bytes]:
    async with asyncio.timeout(30):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            writer.write(request)
            writer.write_eof()
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return head, body


def test_the_profile_has_every_worker_and_says_since_when_it_knows() -> None:
    ((head, body),) = ask(ASKED)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    found = fields(gzip.decompress(body))
    words = [cast("bytes", text).decode() for text in found[6]]
    first, second = (words[cast("int", comment)] for comment in found[13])
    assert "worker 0 (pid 7, 500 bytes resident): allocations are traced from now on" in first
    assert "worker 1 (pid 8, 600 bytes resident): allocations are traced since 20" in second
    assert len(found[2]) == 3
    assert {"app.leak", "/srv/app.py", "inuse_objects", "inuse_space"} <= set(words)


def test_for_people_places_and_types_are_summed_up_over_the_workers() -> None:
    ((_, body),) = ask(ASKED.replace(b"heap ", b"heap?debug=1 "), heaps=(FIRST, LATER, None))
    found: dict[str, Any] = json.loads(body)
    assert (found["acked"], found["total"]) == (2, 3)
    workers = [(each["slot"], each.get("traced"), each.get("older")) for each in found["workers"]]
    assert workers == [(0, 0, 20), (1, 300, 10), (2, None, None)]
    told = [(each["function"], each["holder"], each["origin"], each["bytes"]) for each in found["top"]]
    assert told == [("app.leak", "", "traced", 300), ("bytes", "held by list", "older", 30)]


def test_a_worker_that_did_not_answer_is_named_in_the_profile() -> None:
    ((_, body),) = ask(ASKED, heaps=(None,))
    assert b"worker 0: no answer, it is missing here" in gzip.decompress(body)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /debug/pprof/profile HTTP/1.1\r\nHost: localhost:6060\r\n\r\n", 404),
        (b"POST /debug/pprof/heap HTTP/1.1\r\nHost: localhost:6060\r\n\r\n", 405),
        (b"GET /debug/pprof/heap HTTP/1.1\r\nHost: evil.test:6060\r\n\r\n", 421),
        (b"GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost.evil.test\r\n\r\n", 421),
        (b"GET /debug/pprof/heap HTTP/1.1\r\n\r\n", 421),
        (b"GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost:1\r\nHost: localhost:1\r\n\r\n", 421),
        (b"GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost:1\r\nOrigin: null\r\n\r\n", 403),
        (b"GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost:1\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403),
        (b"GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost:1\r\nReferer: http://a/\r\n\r\n", 403),
        (b"GET /debug/pprof/heap\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_what_else_is_asked_is_refused(request_: bytes, status: int) -> None:
    ((head, _),) = ask(request_)
    assert head.split(b" ")[1] == str(status).encode()


def test_who_is_one_too_many_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "SLOW", 60.0)

    async def scenario() -> tuple[bytes, bytes]:
        def gathered(patience: float) -> asyncio.Future[Gathered]:
            future: asyncio.Future[Gathered] = asyncio.get_running_loop().create_future()
            future.set_result(Gathered((None,)))
            return future

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        serving = asyncio.create_task(HeapDoor(ask=gathered, clock=HandClock(), log=Lines()).run(port))
        with contextlib.ExitStack() as waiting:
            for _ in range(heap.AT_ONCE):
                waiting.enter_context(await _silent(port))
            answer = await _unheard(port)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        return answer

    assert asyncio.run(scenario()) == (b"", b"")


async def _silent(port: int) -> socket.socket:
    """Somebody who asks nothing, once the door is open."""
    async with asyncio.timeout(30):
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port))
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)


async def _unheard(port: int) -> tuple[bytes, bytes]:
    """The answer, where who is turned away before a word may also see the connection broken."""
    try:
        return await _answer(port, ASKED)
    except ConnectionError:
        return b"", b""


def test_who_ends_before_the_question_is_whole_gets_nothing_and_the_next_one_does() -> None:
    gone, answered = ask(b"GET /debug", ASKED)
    assert gone == (b"", b"")
    assert answered[0].startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("host", ["localhost:6060", "127.0.0.1:6060"])
def test_this_machine_has_two_names(host: str) -> None:
    assert requested(f"GET /x?y HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()) == "/x?y"


def test_without_a_port_localhost_is_not_the_door() -> None:
    with pytest.raises(Refusal, match="Ask for localhost"):
        requested(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def test_a_port_that_is_taken_is_said_and_stops_nothing() -> None:
    lines = Lines()

    def never(patience: float) -> asyncio.Future[Gathered]:
        raise AssertionError

    door = HeapDoor(ask=never, clock=HandClock(), log=lines)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        asyncio.run(door.run(port))
    asyncio.run(door.run(0))
    (line,) = lines.lines
    assert (line["level"], line["event"], line["key"]) == ("warning", "config_warning", "server.debug_port")
    assert f"127.0.0.1:{port}" in line["what"]


def test_a_worker_answers_with_its_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def look(self, seconds: float) -> Heap:
            assert seconds == heap.TRACED
            return FIRST

    assert asyncio.run(heap.answerer(cast("Any", Fake()))()) is FIRST
