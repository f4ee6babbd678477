"""What a connection does with requests and answers, over raw sockets: framing, order, leaving, draining."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from airlock.core.config import ServerSection
from airlock.edge.hall import Hall
from airlock.edge.limits import FRAMING, KEEP_ALIVE, UNREAD
from airlock.edge.server import Server
from airlock.edge.stream import Conversation
from airlock.edge.visit import Visit
from airlock.model.call import Reply
from tests.edge.parts import now, travel

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]
Application = Callable[[Visit], Awaitable[None]]
GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n"
LAST = b"Connection: close\r\n\r\n"
DRAIN = 3


async def _serving(application: Application, scenario: Callable[[Connect, Server], Awaitable[T]]) -> T:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    http = Server(application, ServerSection(drain=DRAIN, max_connections=3))
    async with asyncio.TaskGroup() as group:
        group.create_task(http.serve([listener]))
        found = await scenario(lambda: asyncio.open_connection("127.0.0.1", port), http)
        http.drain()
    return found


def serving(application: Application, scenario: Callable[[Connect, Server], Awaitable[T]]) -> T:
    """Run the server and a scenario against it, in the time of the test."""
    return travel(_serving(application, scenario), sockets=True)


def heard(application: Application, *pieces: bytes) -> bytes:
    """Everything that comes back for these pieces until the server closes."""

    async def scenario(connect: Connect, _http: Server) -> bytes:
        reader, writer = await connect()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        answer = await reader.read()
        writer.close()
        return answer

    return serving(application, scenario)


async def hello(visit: Visit) -> None:
    visit.answer(200, (("x-own", "1"),), b"hello", (("x-more", "2"),))


async def echo(visit: Visit) -> None:
    body = visit.whole()
    if body is None:
        body = b""
        while piece := await visit.piece():
            body += piece
    visit.answer(200, (), body)


async def patient(visit: Visit) -> None:
    await asyncio.sleep(2)
    visit.answer(200, (), visit.path)


def test_an_answer_is_one_head_and_one_body() -> None:
    lines = b"HTTP/1.1 200 OK\r\nx-own: 1\r\ncontent-length: 5\r\nx-more: 2\r\nconnection: close\r\n\r\nhello"
    assert heard(hello, GET + LAST) == lines


def test_the_target_is_taken_apart_and_nothing_is_decoded() -> None:
    async def tell(visit: Visit) -> None:
        visit.answer(200, (), b"%b|%b|%b" % (visit.method.encode(), visit.path, visit.query))

    request = b"PUT /a%2Fb?c=%20d&e#f HTTP/1.1\r\nHost: localhost\r\n"
    assert heard(tell, request + LAST).endswith(b"PUT|/a%2Fb|c=%20d&e")


def test_header_names_are_in_lower_case_and_come_in_order() -> None:
    async def tell(visit: Visit) -> None:
        visit.answer(200, (), b",".join(name for name, _ in visit.fields))

    assert heard(tell, GET + b"X-B: 1\r\nX-A: 2\r\nX-B: 3\r\n" + LAST).endswith(
        b"host,x-b,x-a,x-b,connection"
    )


def test_blanks_around_a_field_are_no_part_of_its_value() -> None:
    async def tell(visit: Visit) -> None:
        visit.answer(200, (), b"|".join(value for _, value in visit.fields))

    assert heard(tell, GET + b"Mcp-Name: \t a b \t \r\nEmpty:   \r\n" + LAST).endswith(
        b"localhost|a b||close"
    )


def test_the_answer_to_head_has_no_body() -> None:
    answer = heard(hello, GET.replace(b"GET", b"HEAD") + LAST)
    assert b"content-length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_http_1_0_is_answered_once() -> None:
    answer = heard(hello, GET.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n", GET + LAST)
    assert (answer.count(b"HTTP/1.1 200"), answer.count(b"connection: close")) == (1, 1)


def test_a_header_that_would_end_its_line_is_a_defect_of_ours() -> None:
    async def inject(visit: Visit) -> None:
        visit.answer(200, (), b"", (("x-a", "b\r\nset-cookie: c"),))

    answer = heard(inject, GET + LAST)
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"set-cookie" not in answer


@pytest.mark.parametrize("defect", [LookupError, asyncio.CancelledError, BaseException])
def test_a_defect_is_500_and_ends_the_connection(defect: type[BaseException]) -> None:
    async def broken(visit: Visit) -> None:
        raise defect("a secret")

    answer = heard(broken, GET + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"secret" not in answer


def test_who_answers_nothing_answers_500() -> None:
    async def silent(visit: Visit) -> None:
        """Forgets the answer."""

    assert heard(silent, GET + b"\r\n").startswith(b"HTTP/1.1 500")


def test_an_answer_begins_once() -> None:
    async def twice(visit: Visit) -> None:
        visit.say((), b"one")
        visit.answer(200, (), b"two")

    answer = heard(twice, GET + b"\r\n")
    assert answer.count(b"HTTP/1.1") <= 1
    assert b"two" not in answer


def test_a_part_of_an_answer_is_a_chunk_and_the_connection_lives_on() -> None:
    async def parts(visit: Visit) -> None:
        visit.say((("x-own", "1"),), b"")
        visit.say((), b"0123456789")
        visit.say((), b"ab", last=True)

    answer = heard(parts, GET + b"\r\n", GET + LAST)
    whole = b"transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n2\r\nab\r\n0\r\n\r\n"
    assert (answer.count(whole), answer.count(b"x-own: 1")) == (2, 2)


@pytest.mark.parametrize("version", [b"0.9", b"1.0", b"2.0"])
def test_another_version_is_answered_once(version: bytes) -> None:
    request = GET.replace(b"1.1", version) + b"Connection: keep-alive\r\n\r\n"
    assert heard(hello, request, GET + LAST).count(b"HTTP/1.1 200") == 1


def test_the_body_of_connect_is_no_request() -> None:
    head = b"CONNECT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"
    assert heard(hello, head, GET + LAST).count(b"HTTP/1.1 200") == 1


def test_http_1_0_knows_the_end_of_parts_by_the_close() -> None:
    async def parts(visit: Visit) -> None:
        visit.say((), b"ab")
        visit.say((), b"cd", last=True)

    answer = heard(parts, GET.replace(b"1.1", b"1.0") + b"\r\n")
    assert answer == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcd"


def post(size: int, *fields: bytes) -> bytes:
    head = [b"POST /x HTTP/1.1", b"Host: localhost", b"Content-Length: %d" % size, *fields]
    return b"\r\n".join(head) + b"\r\n\r\n"


@pytest.mark.parametrize("cut", [1, 2])
def test_a_body_arrives_in_one_piece_or_in_two(cut: int) -> None:
    request = post(2, b"Connection: close") + b"ab"
    assert heard(echo, request[: -2 + cut], request[-2 + cut :]).endswith(b"\r\n\r\nab")
    assert heard(echo, request).endswith(b"\r\n\r\nab")


def test_a_body_that_is_larger_than_what_is_held_unread_arrives_whole() -> None:
    body = bytes(range(256)) * (UNREAD // 64)
    assert heard(echo, post(len(body), b"Connection: close"), body).endswith(body)


def test_a_body_that_nobody_reads_is_not_taken_further() -> None:
    async def late(visit: Visit) -> None:
        await asyncio.sleep(1)
        await echo(visit)

    body = b"x" * (UNREAD * 64)
    assert len(heard(late, post(len(body), b"Connection: close") + body)) > len(body)


def test_who_waits_to_be_asked_for_a_body_is_asked_once() -> None:
    answer = heard(echo, post(4, b"Expect: 100-Continue", b"Connection: close"), b"ab", b"cd")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"abcd")


def test_who_is_refused_is_not_asked_for_a_body() -> None:
    assert b"100 Continue" not in heard(hello, post(4, b"Expect: 100-continue", b"Connection: close"))


@pytest.mark.parametrize(("body", "waited"), [(b"abcd", 1), (b"", KEEP_ALIVE)])
def test_who_is_answered_early_may_send_the_rest(body: bytes, waited: float) -> None:
    async def scenario(connect: Connect, _http: Server) -> float:
        reader, writer = await connect()
        writer.write(post(4, b"Connection: close"))
        await reader.readuntil(b"hello")
        begun = now()
        closed = asyncio.create_task(reader.read())
        await asyncio.sleep(1)
        writer.write(body)
        assert not closed.done()
        assert await closed == b""
        writer.close()
        return round(now() - begun)

    assert serving(hello, scenario) == waited


def test_a_malformed_body_is_nothing_to_who_has_its_answer() -> None:
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert heard(hello, head, b"nonsense\r\n").endswith(b"hello")


def test_a_line_behind_a_large_last_body_costs_nobody_the_answer() -> None:
    async def late(visit: Visit) -> None:
        while await visit.piece():
            pass
        await asyncio.sleep(2)
        visit.answer(200, (), b"hello")

    half = b"x" * FRAMING
    head = post(2 * FRAMING, b"Connection: close")
    assert heard(late, head, half, half, b"\r\n").endswith(b"hello")


def test_a_malformed_body_is_400_where_no_answer_began() -> None:
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert heard(echo, head, b"nonsense\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("cut", [0, len(GET) + 2])
def test_nonsense_behind_a_request_is_not_answered_in_its_place(cut: int) -> None:
    data = GET + b"\r\n" + b"nonsense\r\n\r\n" + GET + b"\r\n"
    answer = heard(patient, data[:cut], data[cut:])
    assert (answer.count(b"HTTP/1.1 200"), answer.count(b"HTTP/1.1")) == (1, 1)
    assert b"connection: close" in answer


def test_a_malformed_body_behind_a_request_is_not_answered() -> None:
    head = b"POST /y HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = heard(patient, GET + b"\r\n" + head + b"nonsense\r\n")
    assert (answer.count(b"HTTP/1.1 200"), answer[-2:]) == (1, b"/x")


def test_two_lengths_are_no_request() -> None:
    head = post(4, b"Transfer-Encoding: chunked")
    assert heard(echo, head + b"0\r\n\r\n" + GET + LAST).startswith(b"HTTP/1.1 400")


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


def test_an_upgrade_is_a_request_like_any_other() -> None:
    assert heard(hello, GET + UPGRADE, GET + LAST).count(b"HTTP/1.1 200") == 2


def test_what_stands_behind_an_upgrade_is_not_looked_at() -> None:
    answer = heard(hello, GET + UPGRADE + GET + b"\r\n", GET + LAST)
    assert (answer.count(b"HTTP/1.1 200"), answer.count(b"connection: close")) == (1, 1)


def test_what_stands_behind_the_last_request_is_not_answered() -> None:
    assert heard(patient, GET + LAST + GET + b"\r\n", GET + LAST).count(b"HTTP/1.1") == 1


def test_a_flood_behind_the_last_request_cuts_the_connection() -> None:
    async def scenario(connect: Connect, _http: Server) -> bytes:
        reader, writer = await connect()
        for piece in (GET + LAST, b"x" * FRAMING, b"x" * FRAMING):
            writer.write(piece)
            await asyncio.sleep(0.01)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = await reader.read()
        writer.close()
        return answer

    assert serving(patient, scenario) == b""


def test_requests_are_answered_one_after_the_other() -> None:
    async def scenario(connect: Connect, _http: Server) -> list[float]:
        reader, writer = await connect()
        writer.write(GET + b"\r\n" + GET + b"\r\n")
        times: list[float] = []
        for _ in range(2):
            await reader.readuntil(b"/x")
            times.append(round(now()))
        writer.close()
        return times

    assert serving(patient, scenario) == [2, 4]


def test_an_idle_connection_is_closed() -> None:
    async def scenario(connect: Connect, _http: Server) -> float:
        reader, writer = await connect()
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"hello")
        begun = now()
        assert await reader.read() == b""
        writer.close()
        return round(now() - begun, 1)

    assert serving(hello, scenario) == KEEP_ALIVE


def test_one_connection_too_many_is_503() -> None:
    async def scenario(connect: Connect, http: Server) -> list[bytes]:
        others = [await connect() for _ in range(2)]
        reader, writer = await connect()
        answers: list[bytes] = []
        for most in (3, 4):
            http.limit(most)
            reader, writer = await connect() if answers else (reader, writer)
            writer.write(GET + LAST)
            answers.append((await reader.read())[:12])
            writer.close()
        for _, other in others:
            other.close()
        return answers

    assert serving(hello, scenario) == [b"HTTP/1.1 503", b"HTTP/1.1 200"]


class Streaming:
    """A call of five seconds whose client takes a stream, with a notification every second."""

    def __init__(self, *, size: int = 10) -> None:
        self.cancelled = 0.0
        self.done = False
        self._size = size

    async def __call__(self, visit: Visit) -> None:
        conversation = Conversation(
            visit=visit, stream=True, plain=True, headers=(), cancel_when_gone=visit.path == b"/x"
        )
        await conversation.answer(self._work(conversation))

    async def _work(self, conversation: Conversation) -> Reply:
        try:
            for number in range(5):
                await asyncio.sleep(1)
                params = {"progress": number, "message": "x" * self._size}
                conversation.notify("notifications/progress", params)
        except asyncio.CancelledError:
            self.cancelled = now()
            raise
        self.done = True
        return Reply(body=b'{"id":1}')


def test_a_stream_says_what_happens_when_it_happens() -> None:
    async def scenario(connect: Connect, _http: Server) -> list[float]:
        reader, writer = await connect()
        writer.write(GET + LAST)
        times: list[float] = []
        for _ in range(5):
            await reader.readuntil(b'"progress":')
            times.append(round(now()))
        assert (await reader.read()).endswith(b'data: {"id":1}\n\n\r\n0\r\n\r\n')
        writer.close()
        return times

    assert serving(Streaming(), scenario) == [1, 2, 3, 4, 5]


def left(path: bytes) -> Streaming:
    call = Streaming()

    async def scenario(connect: Connect, _http: Server) -> None:
        _, writer = await connect()
        writer.write(GET.replace(b"/x", path) + b"\r\n")
        await asyncio.sleep(2.5)
        writer.close()
        await asyncio.sleep(5)

    serving(call, scenario)
    return call


def test_a_client_that_leaves_ends_its_call_at_once() -> None:
    call = left(b"/x")
    assert (round(call.cancelled, 1), call.done) == (2.5, False)


def test_a_call_that_outlives_its_client_is_done() -> None:
    call = left(b"/y")
    assert (call.cancelled, call.done) == (0, True)


def test_who_takes_nothing_for_a_while_gets_the_newest_and_the_reply() -> None:
    async def scenario(connect: Connect, _http: Server) -> bytes:
        reader, writer = await connect()
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        writer.write(GET + LAST)
        await asyncio.sleep(0.5)
        transport.pause_reading()
        await asyncio.sleep(8)
        transport.resume_reading()
        answer = await reader.read()
        writer.close()
        return answer

    assert serving(Streaming(size=8 * 1024 * 1024), scenario).endswith(b'data: {"id":1}\n\n\r\n0\r\n\r\n')


@pytest.mark.parametrize("leaves", [False, True])
def test_a_reply_waits_for_a_client_that_takes_nothing_and_not_for_one_that_left(leaves: bool) -> None:
    ended: list[float] = []

    async def call(visit: Visit) -> None:
        await Streaming(size=8 * 1024 * 1024)(visit)
        ended.append(round(now()))

    async def scenario(connect: Connect, _http: Server) -> None:
        reader, writer = await connect()
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        writer.write(GET.replace(b"/x", b"/y") + LAST)
        await asyncio.sleep(0.5)
        transport.pause_reading()
        await asyncio.sleep(3)
        transport.resume_reading()
        await reader.readuntil(b'"progress":')
        transport.pause_reading()
        await asyncio.sleep(8)
        if leaves:
            writer.transport.abort()
        else:
            transport.resume_reading()
            await reader.read()
        writer.close()
        await asyncio.sleep(1)

    serving(call, scenario)
    assert len(ended) == 1


def test_no_request_begins_while_the_answer_before_it_is_not_taken() -> None:
    asked: list[float] = []

    async def large(visit: Visit) -> None:
        asked.append(round(now()))
        visit.answer(200, (), bytes(32 * 1024 * 1024))

    async def scenario(connect: Connect, _http: Server) -> int:
        reader, writer = await connect()
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        writer.write(GET + b"\r\n" + GET + LAST)
        await asyncio.sleep(3)
        transport.resume_reading()
        answers = await reader.read()
        writer.close()
        return answers.count(b"HTTP/1.1 200")

    assert serving(large, scenario) == 2
    assert asked == [0, 3]


def drained(application: Application, *pieces: bytes) -> tuple[float, bytes]:
    """When a connection was closed after draining began, and what it heard."""

    async def scenario(connect: Connect, http: Server) -> tuple[float, bytes]:
        reader, writer = await connect()
        for piece in pieces:
            writer.write(piece)
        await asyncio.sleep(0.5)
        begun = now()
        http.drain()
        answer = await reader.read()
        writer.close()
        return round(now() - begun, 1), answer[-2:]

    return serving(application, scenario)


def test_who_asks_for_nothing_is_closed_when_draining_begins() -> None:
    assert drained(hello) == (0.0, b"")
    assert drained(hello, GET + b"\r\n") == (0.0, b"lo")


def test_who_comes_when_draining_has_begun_is_asked_to_leave() -> None:
    class Guest:
        asked = 0

        def shut(self) -> None:
            self.asked += 1

        end = shut

    hall, early, late = Hall(hello, max_connections=3), Guest(), Guest()
    hall.enter(early)
    assert early.asked == 0
    hall.drain()
    hall.enter(late)
    assert (early.asked, late.asked) == (1, 1)
    for guest in (early, late):
        hall.part(guest)
    assert (hall.empty.is_set(), hall.deserted.is_set()) == (True, False)
    for guest in (early, late):
        hall.leave(guest)
    assert hall.deserted.is_set()


def test_what_has_arrived_is_answered_before_the_end() -> None:
    assert drained(patient, GET + b"\r\n") == (1.5, b"/x")


def test_a_body_on_its_way_is_waited_for() -> None:
    assert drained(echo, post(2), b"a") == (DRAIN, b"or")


def test_what_takes_too_long_is_cancelled_and_hears_of_it() -> None:
    call = Streaming()
    closed, _ = drained(call, GET + b"\r\n")
    assert (closed, round(call.cancelled, 1)) == (DRAIN, DRAIN + 0.5)
