"""Fetching one document from a place that nobody vouches for, with real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from airlock.core.clock import SYSTEM
from airlock.core.errors import UpstreamFault
from airlock.upstream import fetch as fetching
from airlock.upstream import guard
from airlock.upstream.fetch import HOPS, LARGEST, Fetch, Fetched
from tests.upstream.http_parts import RawServer, Seen, run

Handler = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def says(status: int, body: bytes = b"", **headers: str) -> bytes:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


def handler(answer: bytes) -> Handler:
    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return handle


def at(server: RawServer, **how: Any) -> Fetch:
    return Fetch(clock=SYSTEM, allowed=[guard.endpoint(server.url).origin], **how)


def fetched(answer: bytes, *, path: str = "/mcp") -> tuple[Fetched, list[Seen]]:
    async def scenario() -> tuple[Fetched, list[Seen]]:
        async with RawServer(handler(answer)) as server:
            return await at(server).get(server.url.replace("/mcp", path)), server.seen

    return run(scenario())


def fault(answer: bytes) -> UpstreamFault:
    with pytest.raises(UpstreamFault) as refused:
        fetched(answer)
    return refused.value


def test_a_document_comes_back_with_its_status() -> None:
    document, seen = fetched(says(200, b"{}"), path="/a?b=c")
    assert (document.status, document.body) == (200, b"{}")
    assert (seen[0].method, seen[0].target) == ("GET", "/a?b=c")
    assert seen[0].headers["accept-encoding"] == "identity"
    assert fetched(says(404, b"no"))[0].status == 404


def test_a_form_is_posted_as_one() -> None:
    async def scenario() -> tuple[Fetched, Seen]:
        async with RawServer(handler(says(302, b"", Location="/elsewhere"))) as server:
            document = await at(server).post(
                server.url, {"a": "1 &", "b": "ü"}, {"Authorization": "Basic eA=="}
            )
            return document, server.seen[0]

    document, seen = run(scenario())
    assert document.status == 302
    assert seen.body == b"a=1+%26&b=%C3%BC"
    assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
    assert seen.headers["authorization"] == "Basic eA=="


def test_a_redirect_within_the_allowed_origin_is_followed() -> None:
    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(says(200, b"here") if seen.target == "/b" else says(307, b"", Location="/b"))

    async def scenario() -> Fetched:
        async with RawServer(handle) as server:
            return await at(server).get(server.url)

    document = run(scenario())
    assert (document.body, document.url.rpartition("/")[2]) == (b"here", "b")


def test_a_circle_of_redirects_ends() -> None:
    async def scenario() -> int:
        async with RawServer(handler(says(302, b"", Location="/mcp"))) as server:
            with pytest.raises(UpstreamFault, match="redirects"):
                await at(server).get(server.url)
            return len(server.seen)

    assert run(scenario()) == HOPS + 1


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest",
        "http://127.0.0.1:1/other-port",
        "https://127.0.0.1:1/",
        "file:///etc/passwd",
        "gopher://x/",
        "http://[broken/",
        "//user@127.0.0.1/",
        "javascript:alert(1)",
    ],
)
def test_a_redirect_to_a_place_that_is_not_allowed_is_not_followed(location: str) -> None:
    assert isinstance(fault(says(302, b"", Location=location)), guard.Forbidden)


def test_https_never_becomes_http() -> None:
    assert fetching._next("https://idp.example/a", "/b") == "https://idp.example/b"  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(guard.Forbidden, match="from https"):
        fetching._next("https://idp.example/a", "http://idp.example/a")  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/", "http:///x", "a:$(calc)", "http://x/\r\nA: b"]
)
def test_what_is_no_web_address_is_not_fetched(url: str) -> None:
    with pytest.raises(guard.Forbidden):
        run(Fetch(clock=SYSTEM).get(url))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
def test_a_name_that_leads_inside_is_not_connected_to(address: str) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["93.184.216.34", address]

    with pytest.raises(guard.Forbidden):
        run(Fetch(clock=SYSTEM, resolve=inside).get("https://idp.example/"))


def test_plain_http_is_for_allowed_origins_only() -> None:
    async def outside(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    with pytest.raises(guard.Forbidden, match="plain HTTP"):
        run(Fetch(clock=SYSTEM, resolve=outside).get("http://idp.example/"))


def test_a_document_that_announces_too_much_is_not_read() -> None:
    answer = f"HTTP/1.1 200 X\r\nContent-Length: {50 * 1024 * 1024}\r\n\r\n".encode()
    assert "larger than" in fault(answer).detail


def test_a_document_that_turns_out_too_large_is_dropped() -> None:
    answer = b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + b" " * (LARGEST + 1)
    assert "larger than" in fault(answer).detail


def test_a_compressed_document_is_not_read() -> None:
    assert "compressed" in fault(says(200, b"x", Content_Encoding="gzip")).detail


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TOTAL", 0.2)
    assert fault(b"").reason == "upstream_timeout"


def test_a_server_that_hangs_up_is_a_fault() -> None:
    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def scenario() -> None:
        async with RawServer(handle) as server:
            await at(server).get(server.url)

    with pytest.raises(UpstreamFault):
        run(scenario())


def test_a_fetch_that_is_cancelled_leaves_nothing_open() -> None:
    async def scenario() -> None:
        async with RawServer(handler(b"")) as server:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await at(server).get(server.url)

    run(scenario())
