"""A real server and raw sockets: what no decent client sends, and what it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import pytest

from airlock.core.config import ServerSection
from airlock.core.errors import Fault, Refused
from airlock.edge.clients import Clients
from airlock.edge.doors import Doors
from airlock.edge.limits import HEADER_BLOCK, HEADER_TIME, MESSAGE_TIME, PIPELINED, WRITE_TIME
from airlock.edge.problems import Problems
from airlock.edge.routes import Application, Route
from airlock.edge.server import Server
from airlock.model.call import Reached
from airlock.model.http import HttpRequest, HttpResponse
from tests.edge.parts import now, travel
from tests.gateway.parts import PUBLIC, HandClock, Lines

T = TypeVar("T")
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
GET = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n"
END = b"\r\n"
LAST = b"Connection: close\r\n\r\n"


def reveal(reached: Reached, failure: Refused | Fault) -> None:
    """Nothing is hidden."""


async def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=200, body=request.path.encode())


async def slow(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(20)
    return HttpResponse(status=200, body=b"slow")


async def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=200, body=bytes(32 * 1024 * 1024))


async def nobody_is(source_ip: str, failure: Refused) -> None:
    raise AssertionError("everybody may come in")


async def _serving(scenario: Callable[[Connect], Awaitable[T]]) -> T:
    application = Application(
        routes=(
            Route(method="GET", path="/echo", auth="none", handler=echo),
            Route(method="GET", path="/slow", auth="none", handler=slow),
            Route(method="GET", path="/large", auth="none", handler=large),
            Route(method="POST", path="/echo", auth="none", handler=echo),
        ),
        doors=Doors(host="127.0.0.1", public_url=PUBLIC, hosts=(), origins=()),
        clients=Clients(),
        admit=lambda _: None,
        turned_away=nobody_is,
        explain=Problems(public_url=PUBLIC, conceal=reveal, clock=HandClock(), log=Lines()).explain,
        log=Lines(),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    http = Server(application, ServerSection(drain=1))
    async with asyncio.TaskGroup() as group:
        group.create_task(http.serve(sockets=[listener]))
        found = await scenario(lambda: asyncio.open_connection("127.0.0.1", port))
        http.drain()
    return found


def serving(scenario: Callable[[Connect], Awaitable[T]]) -> T:
    """Run the server and a scenario against it, in the time of the test."""
    return travel(_serving(scenario), sockets=True)


def answers(*pieces: bytes) -> list[int]:
    """The statuses of everything that comes back until the server closes."""

    async def scenario(connect: Connect) -> list[int]:
        reader, writer = await connect()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        heard = await reader.read()
        writer.close()
        return [int(part[:3]) for part in heard.split(b"HTTP/1.1 ")[1:]]

    return serving(scenario)


def closed(*pieces: bytes) -> tuple[float, bytes]:
    """When the server closed the connection after these pieces, and what it said before."""

    async def scenario(connect: Connect) -> tuple[float, bytes]:
        reader, writer = await connect()
        begun = now()
        for piece in pieces:
            writer.write(piece)
        heard = await reader.read()
        writer.close()
        return round(now() - begun), heard

    return serving(scenario)


def lines(size: int) -> bytes:
    """Header lines of this many bytes together, none of them long."""
    line = b"X-A: " + b"a" * 93 + b"\r\n"
    count, rest = divmod(size, len(line))
    return line * count + b"Y: " + b"b" * rest + b"\r\n"


def test_a_request_is_answered() -> None:
    assert answers(GET + LAST) == [200]


def test_a_request_in_many_pieces_is_answered() -> None:
    request = GET + LAST
    assert answers(*(request[at : at + 7] for at in range(0, len(request), 7))) == [200]


def test_requests_that_wait_behind_each_other_are_all_answered() -> None:
    assert answers((GET + END) * 3 + GET + LAST) == [200] * 4


def test_many_requests_on_one_connection_are_not_added_up() -> None:
    one = GET + lines(HEADER_BLOCK // 2) + END
    assert answers(one, one, one, GET + LAST) == [200] * 4


def test_a_large_header_block_is_served() -> None:
    assert answers(GET + lines(HEADER_BLOCK - 200) + LAST) == [200]


@pytest.mark.parametrize("pieces", [1, 5], ids=["at once", "in pieces"])
def test_a_header_block_that_is_too_large_is_431(pieces: int) -> None:
    request = GET + lines(HEADER_BLOCK + 1) + LAST
    size = len(request) // pieces + 1
    assert answers(*(request[at : at + size] for at in range(0, len(request), size))) == [431]


def test_a_header_block_that_never_ends_is_431() -> None:
    assert answers(GET + lines(HEADER_BLOCK)) == [431]


def test_ten_thousand_header_lines_are_431() -> None:
    assert answers(GET + b"a:b\r\n" * 10_000 + LAST) == [431]


def test_a_request_line_that_is_too_long_is_431() -> None:
    assert answers(b"GET /" + b"a" * HEADER_BLOCK + b" HTTP/1.1\r\nHost: localhost\r\n" + LAST) == [431]


def test_a_body_behind_a_header_block_that_is_too_large_is_not_read() -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    assert answers(head + lines(HEADER_BLOCK + 1) + END + b"abc" + GET + LAST) == [431]


def test_a_header_block_in_the_same_piece_as_its_body_is_served() -> None:
    body = b"x" * (HEADER_BLOCK + 1)
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
    assert answers(head + END + body, GET + LAST) == [200, 200]


def test_what_comes_behind_a_refusal_is_not_looked_at() -> None:
    assert answers(GET + lines(HEADER_BLOCK + 1) + END, GET + LAST) == [431]


def test_what_was_refused_for_its_form_is_not_refused_again_for_its_size() -> None:
    assert answers(b"nonsense\r\n" + lines(HEADER_BLOCK)) == [400]


@pytest.mark.parametrize("piece", [b"", b"GET", GET, GET + b"X-A: "])
def test_headers_that_do_not_end_in_time_are_408(piece: bytes) -> None:
    seconds, heard = closed(piece)
    assert (seconds, heard[:12]) == (HEADER_TIME, b"HTTP/1.1 408")


def trickled(head: bytes, drop: bytes, *, until: float) -> tuple[float, bytes]:
    """When the server closed the connection of a client that sends a drop every second until then."""

    async def scenario(connect: Connect) -> tuple[float, bytes]:
        reader, writer = await connect()
        writer.write(head)
        begun = now()
        for second in range(1, int(until)):
            asyncio.get_running_loop().call_later(second, writer.write, drop)
        heard = await reader.read()
        writer.close()
        return round(now() - begun), heard[:12]

    return serving(scenario)


def test_headers_that_trickle_are_408() -> None:
    assert trickled(GET, b"X-A: b\r\n", until=HEADER_TIME) == (HEADER_TIME, b"HTTP/1.1 408")


def test_a_second_request_has_a_time_of_its_own() -> None:
    async def scenario(connect: Connect) -> tuple[float, bytes]:
        reader, writer = await connect()
        writer.write(GET + END)
        await reader.readuntil(b"/echo")
        await asyncio.sleep(3)
        writer.write(GET)
        begun = now()
        heard = await reader.read()
        writer.close()
        return round(now() - begun), heard[:12]

    assert serving(scenario) == (HEADER_TIME, b"HTTP/1.1 408")


def test_a_body_that_nobody_reads_does_not_last_for_ever() -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    assert trickled(head, b"x", until=MESSAGE_TIME) == (MESSAGE_TIME, b"HTTP/1.1 200")


def test_no_refusal_is_written_where_another_answer_is_due() -> None:
    async def scenario(connect: Connect) -> bytes:
        reader, writer = await connect()
        writer.write(GET.replace(b"/echo", b"/slow") + END)
        await asyncio.sleep(1)
        writer.write(GET)
        heard = await reader.read()
        writer.close()
        return heard

    assert serving(scenario) == b""


def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    async def scenario(connect: Connect) -> bytes:
        _, leaving = await connect()
        leaving.write(GET)
        leaving.close()
        await asyncio.sleep(HEADER_TIME + 1)
        reader, writer = await connect()
        writer.write(GET + LAST)
        heard = await reader.read()
        writer.close()
        return heard[:12]

    assert serving(scenario) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /echo#fragment HTTP/1.1", 200),
        (b"GET http://localhost/echo HTTP/1.1", 200),
        (b"GET //echo HTTP/1.1", 400),
        (b"GET /x/../echo HTTP/1.1", 400),
        (b"GET /%65cho HTTP/1.1", 400),
        (b"GET /echo\\ HTTP/1.1", 400),
        (b"GET /ec\x01ho HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET http://localhost HTTP/1.1", 400),
        (b"CONNECT localhost:1 HTTP/1.1", 400),
        (b"nonsense", 400),
    ],
)
def test_a_request_target_is_read_in_one_way(request_line: bytes, status: int) -> None:
    assert answers(request_line + b"\r\nHost: localhost\r\n" + LAST) == [status]


BODY = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("rest", "statuses"),
    [
        (b"1\r\nx\r\n0\r\n\r\n", [200]),
        (b"1\r\nx\r\n" * 200 + b"0\r\n\r\n", [200]),
        (b"1\r\nx\r\n0\r\nX-Late: 1\r\n\r\n", []),
        (b"1;" + b"e" * 70_000 + b"\r\nx\r\n0\r\n\r\n", []),
    ],
    ids=["a body", "small chunks", "a trailer", "a chunk extension without end"],
)
def test_what_stands_around_a_body_is_bounded(rest: bytes, statuses: list[int]) -> None:
    assert answers(BODY, rest + GET + LAST)[: len(statuses)] == statuses


def test_requests_beyond_the_pipeline_close_the_connection() -> None:
    first = GET.replace(b"/echo", b"/slow") + END
    assert answers(first + (GET + END) * PIPELINED + GET + END) == []


def test_a_few_pipelined_requests_are_answered_in_order() -> None:
    assert answers((GET + END) * PIPELINED + GET + LAST) == [200] * (PIPELINED + 1)


def test_a_peer_that_reads_nothing_is_cut_off() -> None:
    async def scenario(connect: Connect) -> float:
        reader, writer = await connect()
        transport = cast("asyncio.Transport", writer.transport)
        transport.pause_reading()
        writer.write(GET.replace(b"/echo", b"/large") + END)
        await asyncio.sleep(WRITE_TIME * 2 + 1)
        transport.resume_reading()
        with contextlib.suppress(ConnectionResetError):
            heard = await reader.read()
            assert len(heard) < 32 * 1024 * 1024
        writer.close()
        return now()

    assert serving(scenario) < WRITE_TIME * 4


def test_a_peer_that_reads_slowly_gets_everything() -> None:
    async def scenario(connect: Connect) -> int:
        reader, writer = await connect()
        writer.write(GET.replace(b"/echo", b"/large") + LAST)
        heard = 0
        while piece := await reader.read(8 * 1024 * 1024):
            heard += len(piece)
            await asyncio.sleep(0.5)
        writer.close()
        return heard

    assert serving(scenario) > 32 * 1024 * 1024
