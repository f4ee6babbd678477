"""HTTPS on the edge: served, bounded in time like everything that comes from somebody unknown."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from airlock.core import certificates
from airlock.core.config import EdgeTls, ServerSection
from airlock.core.errors import Refused
from airlock.edge.clients import Clients
from airlock.edge.doors import Doors
from airlock.edge.problems import Problems
from airlock.edge.routes import Application, Route
from airlock.edge.server import HANDSHAKE_TIME, Server
from airlock.model.http import HttpRequest, HttpResponse
from tests.certificates import Authority
from tests.edge.parts import now, travel
from tests.edge.test_problems import reveal
from tests.gateway.parts import PUBLIC, HandClock, Lines

T = TypeVar("T")


async def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=200, body=request.path.encode())


async def nobody_is(source_ip: str, failure: Refused) -> None:
    raise AssertionError("everybody may come in")


class Site:
    """An authority and what it vouches for."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        cert_file, key_file = self.authority.vouch("gate")
        self.tls = EdgeTls(cert_file=str(cert_file), key_file=str(key_file))
        self.trusting = ssl.create_default_context(cafile=str(self.authority.file))

    def serving(self, scenario: Callable[[int], Awaitable[T]], *, most: int = 1000) -> T:
        """Run the server and a scenario against its port, in the time of the test."""
        return travel(self._serving(scenario, most), sockets=True)

    async def _serving(self, scenario: Callable[[int], Awaitable[T]], most: int) -> T:
        application = Application(
            routes=(Route(method="GET", path="/echo", auth="none", handler=echo),),
            doors=Doors(host="127.0.0.1", public_url=PUBLIC, hosts=(), origins=()),
            clients=Clients(),
            admit=lambda _: None,
            turned_away=nobody_is,
            explain=Problems(public_url=PUBLIC, conceal=reveal, clock=HandClock(), log=Lines()).explain,
            log=Lines(),
        )
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        renewed = certificates.edge_renewed(self.tls)
        http = Server(application, ServerSection(drain=1, max_connections=most), renewed.context)
        async with asyncio.TaskGroup() as group:
            group.create_task(http.serve(sockets=[listener]))
            found = await scenario(port)
            http.drain()
        return found


GET = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def test_a_request_over_tls_is_answered(tmp_path: Path) -> None:
    site = Site(tmp_path)

    async def scenario(port: int) -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=site.trusting, server_hostname="localhost"
        )
        writer.write(GET)
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
        return heard

    heard = site.serving(scenario)
    assert heard.startswith(b"HTTP/1.1 200")
    assert heard.endswith(b"/echo")


def test_who_takes_no_leave_takes_nobodys_place(tmp_path: Path) -> None:
    """As clients do that keep a connection for later and look at it only then."""
    site = Site(tmp_path)

    async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            "127.0.0.1", port, ssl=site.trusting, server_hostname="localhost"
        )

    async def scenario(port: int) -> bytes:
        _, absent = await connect(port)
        reader, writer = await connect(port)
        assert isinstance(absent.transport, asyncio.ReadTransport)
        absent.transport.pause_reading()
        absent.write(GET)
        await asyncio.sleep(1)
        writer.write(GET)
        heard = await reader.read()
        for each in (absent, writer):
            each.transport.abort()
        return heard

    assert site.serving(scenario, most=2).startswith(b"HTTP/1.1 200")


def test_who_does_not_shake_hands_is_cut_off(tmp_path: Path) -> None:
    async def scenario(port: int) -> tuple[float, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        begun = now()
        heard = await reader.read()
        writer.close()
        return now() - begun, heard

    waited, heard = Site(tmp_path).serving(scenario)
    assert heard == b""
    assert waited <= HANDSHAKE_TIME + 1


def test_plain_http_is_not_answered(tmp_path: Path) -> None:
    async def scenario(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        try:
            heard = await reader.read()
        except ConnectionResetError:
            heard = b""
        writer.close()
        return heard

    assert b"200" not in Site(tmp_path).serving(scenario)
