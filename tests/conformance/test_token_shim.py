"""What a caller and a gateway see through the shim: the same bytes, one line more, and each other's end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager

import pytest

from tests.conformance.token_shim import Refused, Shim, authorized, checked, framing

HEAD = (
    b"POST /mcp/fx?x=%20 HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nX-Odd:  two  \r\n"
)
TOKEN = b"Authorization: Bearer secret\r\n"


class Peer:
    """A gateway that a test plays by hand: one connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(30)
        self.port: int = self._listener.getsockname()[1]

    def accept(self) -> socket.socket:
        connection, _ = self._listener.accept()
        connection.settimeout(30)
        return connection

    def close(self) -> None:
        self._listener.close()


@contextmanager
def joined() -> Generator[tuple[socket.socket, socket.socket]]:
    """The caller's connection and the gateway's, with the shim between."""
    with (
        closing(Peer()) as peer,
        Shim(to=peer.port, token="secret") as shim,
        socket.create_connection(("127.0.0.1", shim.port), timeout=30) as caller,
        peer.accept() as gateway,
    ):
        yield caller, gateway


def exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        assert more, f"the connection ended after {data!r}"
        data += more
    return data


def test_a_request_gets_one_line_and_stays_as_it_is() -> None:
    line, rest = HEAD.split(b"\r\n", 1)
    body = b'{"a": "\xc3\xa4"}'
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with joined() as (caller, gateway):
        caller.sendall(request)
        expected = line + b"\r\n" + TOKEN + rest + b"Content-Length: %d\r\n\r\n" % len(body) + body
        assert exactly(gateway, len(expected)) == expected


def test_every_request_of_a_connection_gets_it() -> None:
    first, second = b"GET /a HTTP/1.1\r\n\r\n", b"DELETE /b HTTP/1.1\r\n\r\n"
    expected = authorized(first, "secret") + authorized(second, "secret")
    with joined() as (caller, gateway):
        caller.sendall(first + second)
        assert exactly(gateway, len(expected)) == expected


def test_a_body_in_chunks_passes_with_its_trailer() -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    body = b"5;x=y\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"
    following = b"GET /next HTTP/1.1\r\n\r\n"
    expected = authorized(head, "secret") + body + authorized(following, "secret")
    with joined() as (caller, gateway):
        caller.sendall(head + body + following)
        assert exactly(gateway, len(expected)) == expected


def test_an_event_passes_before_the_next_one_is_there() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with joined() as (caller, gateway):
        gateway.sendall(head)
        assert exactly(caller, len(head)) == head
        for event in (b"id: 1\ndata: {}\n\n", b": ping\n\n", b"data: last\n\n"):
            gateway.sendall(event)
            assert exactly(caller, len(event)) == event


def test_the_end_of_either_side_is_the_end_of_the_other() -> None:
    with joined() as (caller, gateway):
        caller.close()
        assert gateway.recv(1) == b""
    with joined() as (caller, gateway):
        gateway.close()
        assert caller.recv(1) == b""


def test_a_gateway_that_is_not_there_ends_the_connection() -> None:
    with closing(Peer()) as peer:
        port = peer.port
    with (
        Shim(to=port, token="secret") as shim,
        socket.create_connection(("127.0.0.1", shim.port), timeout=30) as caller,
    ):
        assert caller.recv(1) == b""


def test_nothing_is_left_behind() -> None:
    before = threading.active_count()
    with joined() as (caller, _):
        caller.sendall(b"GET / HTTP/1.1\r\n")
    assert threading.active_count() == before


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1"])
def test_peers_on_the_loopback_are_served(address: str) -> None:
    assert checked(address) == address


@pytest.mark.parametrize("address", ["10.0.0.1", "192.0.2.7", "2001:db8::1", "::"])
def test_other_peers_are_not(address: str) -> None:
    with pytest.raises(Refused, match="not on the loopback"):
        checked(address)


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (b"", 0),
        (b"Content-Length: 12\r\n", 12),
        (b"content-length:7\r\n", 7),
        (b"Transfer-Encoding: Chunked\r\n", None),
    ],
)
def test_a_head_says_how_long_its_body_is(fields: bytes, length: int | None) -> None:
    assert framing(b"POST / HTTP/1.1\r\n" + fields + b"\r\n") == length
