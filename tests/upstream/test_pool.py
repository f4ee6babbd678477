"""Connections to one server: where they go, when they are reused, when they are not."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airlock.core.clock import SYSTEM
from airlock.core.config import UpstreamTls
from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream import pool
from airlock.upstream.exchange import Exchange, Unattended
from airlock.upstream.guard import Origin
from airlock.upstream.pool import Pool, resolve
from tests.upstream.http_parts import (
    END,
    HandClock,
    McpServer,
    RawServer,
    Seen,
    call,
    event,
    http,
    result,
    run,
    silence,
    stream_head,
    until,
    upstream,
    writes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from airlock.core.clock import Clock


def pool_of(server: RawServer, *, clock: Clock = SYSTEM) -> Pool:
    origin = Origin("http", "127.0.0.1", server.port)
    return Pool(origin=origin, allowed=(origin,), clock=clock)


async def asked(connections: Pool, *, clock: Clock = SYSTEM) -> Exchange:
    """One request, up to the end of its answer."""
    deadline = clock.monotonic() + 5
    taken = await connections.take(deadline)
    exchange = Exchange(taken)
    taken.send(b"GET / HTTP/1.1\r\n\r\n", exchange, first_byte=5, idle=5, deadline=deadline)
    while await exchange.next() is not None:
        pass
    return exchange


@pytest.mark.parametrize(
    ("announced", "seconds"),
    [
        ((), 1.5),
        (("Keep-Alive: timeout=5",), 4.0),
        (("Keep-Alive: max=7, Timeout=3",), 2.0),
        (("Keep-Alive: timeout=9999",), 30.0),
        (("Keep-Alive: timeout=soon",), 1.5),
    ],
)
def test_a_connection_is_reused_for_less_than_the_server_keeps_it(
    announced: tuple[str, ...], seconds: float
) -> None:
    async def story() -> None:
        clock = HandClock()
        async with RawServer(writes(http(200, b"{}", *announced))) as server:
            connections = pool_of(server, clock=clock)
            await asked(connections, clock=clock)
            clock.now += seconds - 0.01
            await asked(connections, clock=clock)
            assert server.opened == 1
            clock.now += seconds + 0.01
            await asked(connections, clock=clock)
            assert server.opened == 2

    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        http(200, b"{}", "Connection: close"),
        http(200, b"{}") + b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}",
        http(200, b"{}") + b"x",
        http(200, b"{}") + http(200, b"{}"),
        http(200, b"{}", "Keep-Alive: timeout=1"),
    ],
)
def test_a_connection_is_not_reused_after_that(answer: bytes) -> None:
    async def story() -> None:
        async with RawServer(writes(answer)) as server:
            connections = pool_of(server)
            assert (await asked(connections)).status == 200
            assert (await asked(connections)).status == 200
            assert server.opened == 2

    run(story())


def test_a_server_that_hangs_up_behind_an_answer_is_asked_over_a_connection_of_its_own() -> None:
    async def story() -> None:
        clock = HandClock()
        hasty = True

        async def handler(_: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(http(200, b"{}"))
            if hasty:
                writer.close()

        async with RawServer(handler) as server:
            connections = pool_of(server, clock=clock)
            await asked(connections, clock=clock)
            await until(lambda: connections.size == 0)
            hasty = False
            for _ in range(2):
                await asked(connections, clock=clock)
            assert server.opened == 3
            clock.now += pool.HASTY
            for _ in range(2):
                await asked(connections, clock=clock)
            assert server.opened == 4

    run(story())


def test_the_idle_connections_to_a_hasty_server_are_given_up() -> None:
    async def story() -> None:
        async with RawServer(writes(http(200, b"{}"))) as server:
            connections = pool_of(server)
            taken = [await connections.connect(SYSTEM.monotonic() + 5) for _ in range(2)]
            for each in taken:
                exchange = Exchange(each)
                each.send(
                    b"GET / HTTP/1.1\r\n\r\n", exchange, first_byte=5, idle=5, deadline=SYSTEM.monotonic() + 5
                )
                while await exchange.next() is not None:
                    pass
            taken[0].hasty = True
            server.writers[0].close()
            await until(lambda: connections.size == 0)

    run(story())


def test_what_follows_an_answer_is_not_mixed_into_it() -> None:
    async def story() -> None:
        second = http(500, b"[]", "Mcp-Session-Id: evil", kind="text/html")
        async with RawServer(writes(http(200, b"{}") + second)) as server:
            connections = pool_of(server)
            taken = await connections.take(SYSTEM.monotonic() + 5)
            exchange = Exchange(taken)
            taken.send(
                b"GET / HTTP/1.1\r\n\r\n", exchange, first_byte=5, idle=5, deadline=SYSTEM.monotonic() + 5
            )
            assert await exchange.next() == b"{}"
            assert (exchange.status, exchange.fields.get(b"mcp-session-id")) == (200, None)
            assert exchange.kind == b"application/json"
            assert connections.idle() is None

    run(story())


def test_an_interim_answer_is_passed_over() -> None:
    async def story() -> None:
        interim = b"HTTP/1.1 103 Early\r\nContent-Type: text/html\r\n\r\n"
        async with RawServer(writes(interim + http(200, b"{}"))) as server:
            exchange = await asked(pool_of(server))
            assert (exchange.status, exchange.kind) == (200, b"application/json")

    run(story())


@pytest.mark.parametrize("goodbye", ["close", "chatter"])
def test_a_connection_that_the_server_left_is_never_written_to(goodbye: str) -> None:
    """The look at the socket sees what the event loop has had no turn to report."""

    async def story() -> None:
        async with RawServer(writes(http(200, b"{}", "Keep-Alive: timeout=20"))) as server:
            clock = HandClock()
            connections = pool_of(server, clock=clock)
            await asked(connections, clock=clock)
            clock.now += 1
            theirs = server.writers[0].get_extra_info("socket")
            with socket.socket(fileno=os.dup(theirs.fileno())) as same:
                if goodbye == "chatter":
                    same.send(b"HTTP/1.1 408 X\r\n\r\n")
                else:
                    same.shutdown(socket.SHUT_WR)
            assert connections.idle() is None
            assert (await asked(connections, clock=clock)).status == 200
            assert (server.opened, len(server.seen)) == (2, 2)

    run(story())


def test_what_a_server_says_unasked_closes_the_connection() -> None:
    async def story() -> None:
        async with RawServer(writes(http(200, b"{}"))) as server:
            connections = pool_of(server)
            await asked(connections)
            server.writers[0].write(b"HTTP/1.1 408 X\r\n\r\n")
            await until(lambda: connections.size == 0)
            assert connections.idle() is None

    run(story())


def test_a_sweep_closes_what_is_too_old() -> None:
    async def story() -> None:
        clock = HandClock()
        async with RawServer(writes(http(200, b"{}"))) as server:
            connections = pool_of(server, clock=clock)
            await asked(connections, clock=clock)
            connections.sweep()
            assert connections.size == 1
            clock.now += 2
            connections.sweep()
            await until(lambda: connections.size == 0)

    run(story())


def test_only_so_many_idle_connections_are_kept() -> None:
    async def story() -> None:
        async with RawServer(writes(http(200, b"{}"))) as server:
            connections = pool_of(server)
            await asyncio.gather(*(asked(connections) for _ in range(pool.IDLE_CONNECTIONS + 3)))
            await until(lambda: connections.size == pool.IDLE_CONNECTIONS)

    run(story())


def test_a_stream_that_goes_on_after_its_answer_is_closed() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")

        async def answered(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(stream_head() + event(result(seen.message["id"])))

        fake.on["tools/call"] = answered
        async with RawServer(fake) as server:
            client = upstream(server.url)
            assert (await client.request(call())).result == {}
            await until(lambda: server.closed == 1)
            await client.close()

    run(story())


def test_an_unattended_request_gives_its_connection_back() -> None:
    async def story() -> None:
        answer = stream_head() + event(result(1)) + END
        async with RawServer(writes(answer)) as server:
            connections = pool_of(server)
            taken = await connections.take(SYSTEM.monotonic() + 5)
            deadline = SYSTEM.monotonic() + 5
            taken.send(b"GET / HTTP/1.1\r\n\r\n", Unattended(), first_byte=5, idle=5, deadline=deadline)
            await until(lambda: connections.idle() is taken)

    run(story())


def test_an_unattended_request_is_bounded_too() -> None:
    async def story() -> None:
        async with RawServer(silence) as server:
            connections = pool_of(server)
            taken = await connections.take(SYSTEM.monotonic() + 5)
            deadline = SYSTEM.monotonic() + 0.05
            taken.send(b"GET / HTTP/1.1\r\n\r\n", Unattended(), first_byte=5, idle=5, deadline=deadline)
            await until(lambda: connections.size == 0)

    run(story())


# Where they go


class Names:
    """A resolver that answers what a test says next, and counts."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = list(answers)

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def refusal(connections: Pool, *, within: float = 5) -> str:
    with pytest.raises(UpstreamFault) as caught:
        await connections.take(SYSTEM.monotonic() + within)
    assert (caught.value.code, caught.value.effect) == (50301, Effect.NONE)
    return caught.value.detail


def named(names: Names, *, allowed: bool, clock: Clock = SYSTEM, port: int = 9) -> Pool:
    origin = Origin("http" if allowed else "https", "mcp.example.com", port)
    return Pool(origin=origin, allowed=(origin,) if allowed else (), clock=clock, resolve=names)


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], []])
def test_g1_an_inward_address_is_never_connected_to(answer: list[str]) -> None:
    async def story() -> None:
        assert "will not connect" in await refusal(named(Names(answer), allowed=False))

    run(story())


def test_a_second_address_is_tried_when_the_first_refuses() -> None:
    async def story() -> None:
        async with RawServer(writes(http(200, b"{}"))) as server:
            names = Names(["127.0.0.9", "127.0.0.1"])
            connections = named(names, allowed=True, port=server.port)
            assert (await asked(connections)).status == 200

    run(story())


def test_connections_of_the_same_moment_share_an_answer_of_the_resolver() -> None:
    async def story() -> None:
        clock = HandClock()
        async with RawServer(writes(http(200, b"{}", "Connection: close"))) as server:
            names = Names(["127.0.0.1"])
            connections = named(names, allowed=True, clock=clock, port=server.port)
            await asyncio.gather(*(asked(connections, clock=clock) for _ in range(3)))
            assert names.asked == 1
            clock.now += 1
            await asked(connections, clock=clock)
            assert names.asked == 2

    run(story())


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    async def hang(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return [host]

    async def story() -> None:
        origin = Origin("http", "mcp.example.com", 9)
        connections = Pool(origin=origin, allowed=(origin,), clock=SYSTEM, resolve=hang)
        assert "in time" in await refusal(connections, within=0.05)

    run(story())


def test_a_name_that_does_not_exist_is_unavailable() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async def story() -> None:
        origin = Origin("http", "nowhere.invalid", 9)
        connections = Pool(origin=origin, allowed=(origin,), clock=SYSTEM, resolve=nowhere)
        assert "no such name" in await refusal(connections)

    run(story())


def test_addresses_need_no_resolver_and_names_do() -> None:
    async def story() -> None:
        assert await resolve("192.0.2.1", 1) == ["192.0.2.1"]
        assert {ip_address(found).is_loopback for found in await resolve("localhost", 1)} == {True}

    run(story())


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")

    async def story() -> None:
        async with RawServer(McpServer(era="modern")) as server:
            client = upstream(server.url)
            assert (await client.request(call())).result is not None
            await client.close()

    run(story())


# TLS


def certificate(path: Path, name: str) -> ssl.SSLContext:
    """A server's context with a self-signed certificate for one name, written to `path`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (path / "cert.pem").write_bytes(made.public_bytes(pem))
    (path / "key.pem").write_bytes(private)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path / "cert.pem", path / "key.pem")
    return context


@pytest.mark.parametrize("name", ["mcp.test", "other.test"])
def test_tls_is_checked_against_the_name_of_the_url(tmp_path: Path, name: str) -> None:
    async def story() -> None:
        served = certificate(tmp_path, name)
        trusting = UpstreamTls(ca_file=str(tmp_path / "cert.pem"))
        async with RawServer(McpServer(era="modern"), tls=served) as server:
            url = f"https://mcp.test:{server.port}/mcp"
            client = upstream(url, tls=trusting, resolve=Names(["127.0.0.1"]))
            if name == "mcp.test":
                assert (await client.request(call())).result is not None
                assert server.seen[0].headers["host"] == f"mcp.test:{server.port}"
                await client.request(call())
                assert server.opened == 1
            else:
                with pytest.raises(UpstreamFault, match="CERTIFICATE_VERIFY_FAILED") as caught:
                    await client.request(call())
                assert (caught.value.code, caught.value.effect) == (50301, Effect.NONE)
                assert server.seen == []
            await client.close()

    run(story())


def test_an_unknown_authority_is_refused_by_default(tmp_path: Path) -> None:
    async def story() -> None:
        async with RawServer(McpServer(era="modern"), tls=certificate(tmp_path, "mcp.test")) as server:
            client = upstream(f"https://mcp.test:{server.port}/", resolve=Names(["127.0.0.1"]))
            with pytest.raises(UpstreamFault, match="self-signed"):
                await client.request(call())
            await client.close()

    run(story())
