"""A server over Streamable HTTP: eras, requests, answers and what can go wrong on the way."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from airlock.core.clock import SYSTEM
from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream import breaker
from airlock.upstream import http as upstream_http
from airlock.upstream.connection import Connection
from airlock.upstream.credentials import Credential
from airlock.upstream.dialogue import MESSAGES_AT_ONCE, MESSAGES_MOST
from airlock.upstream.exchange import Exchange
from airlock.upstream.http import HttpUpstream
from tests.upstream.http_parts import (
    END,
    HandClock,
    Handler,
    McpServer,
    RawServer,
    Seen,
    as_json,
    call,
    chunk,
    error,
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

META = "io.modelcontextprotocol/"


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncGenerator[tuple[RawServer, HttpUpstream]]:
    async with RawServer(handler) as server:
        client = upstream(server.url, **options)
        try:
            yield server, client
        finally:
            await client.close()


async def faulty(client: HttpUpstream, **options: Any) -> tuple[int, Effect]:
    with pytest.raises(UpstreamFault) as caught:
        await client.request(call(**options))
    return caught.value.code, caught.value.effect


@pytest.fixture(autouse=True)
def ids_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these servers answer names the first request by its id."""
    monkeypatch.setattr(upstream_http, "FIRST_ID_MOST", 1)


def test_two_workers_and_two_callers_do_not_count_from_the_same_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()

    async def first() -> int:
        async with serving(McpServer(era="modern")) as (server, client):
            await client.describe()
            return server.find("server/discover")[0].message["id"]

    assert 0 < run(first()) != run(first()) < 1 << 53


# Eras


def test_a_modern_server_is_described() -> None:
    async def story() -> None:
        async with serving(McpServer(era="modern")) as (server, client):
            offer = await client.describe()
            assert server.rpcs() == ["server/discover", "tools/list"]
        assert (offer.era, offer.instructions, offer.ttl) == ("2026-07-28", "Be kind.", 30.0)
        assert offer.server_info == {"name": "fake", "version": "1"}
        assert [tool["name"] for tool in offer.tools] == ["add"]

    run(story())


def test_a_legacy_server_is_described() -> None:
    async def story() -> None:
        async with serving(McpServer(era="legacy")) as (server, client):
            offer = await client.describe()
            assert server.rpcs() == [
                "server/discover",
                "initialize",
                "notifications/initialized",
                "tools/list",
            ]
        assert (offer.era, offer.instructions, offer.ttl) == ("2025-06-18", "Be kind.", 30.0)
        assert offer.server_info == {"name": "fake", "version": "1"}

    run(story())


@pytest.mark.parametrize(
    "probe_answer",
    [
        http(400, kind=""),
        http(400, b"<html>", kind="text/html"),
        http(404, b"<html>", kind="text/html"),
        http(405, kind=""),
        http(406, b'{"error":"x"}'),
        http(400, json.dumps(error("server-error", -32600)).encode()),
        http(400, json.dumps(error(None, -32000)).encode()),
        http(200, b'{"jsonrpc":"2.0","id":@,"error":{"code":-32601,"message":""}}'.replace(b"@", b"1")),
        http(400, b"not json"),
        http(200, json.dumps(result(1, tools=[])).encode()),
    ],
)
def test_e12_any_other_4xx_or_error_means_legacy(probe_answer: bytes) -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["server/discover"] = writes(probe_answer)
        async with serving(fake) as (_, client):
            assert (await client.describe()).era == "2025-06-18"

    run(story())


@pytest.mark.parametrize("code", [-32020, -32021, -32022])
@pytest.mark.parametrize("status", [200, 400])
def test_e12_errors_that_only_a_modern_server_knows_mean_modern(code: int, status: int) -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["server/discover"] = writes(as_json(error(1, code), status))
        async with serving(fake) as (server, client):
            answer = await client.request(call())
            assert answer.era == "2026-07-28"
            assert "initialize" not in server.rpcs()

    run(story())


@pytest.mark.parametrize(
    ("probe_answer", "code"),
    [
        (http(401), 50301),
        (http(403, b"<html>", kind="text/html"), 50301),
        (http(408), 50201),
        (http(429), 50301),
        (http(500), 50301),
        (http(503, json.dumps(error(1, -32601)).encode()), 50301),
        (http(302, b"", "Location: http://127.0.0.1:1/"), 50201),
        (http(200, b"<html>", kind="text/html"), 50201),
        (http(200, b"{"), 50201),
        (http(202), 50201),
        (b"garbage\r\n\r\n", 50201),
    ],
)
def test_e12_what_decides_nothing_is_never_taken_for_legacy(probe_answer: bytes, code: int) -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["server/discover"] = writes(probe_answer)
        async with serving(fake) as (server, client):
            assert await faulty(client) == (code, Effect.NONE)
            assert set(server.rpcs()) == {"server/discover"}

    run(story())


def test_e14_the_era_is_asked_for_once_by_all_who_wait() -> None:
    async def story() -> None:
        async with serving(McpServer(era="modern")) as (server, client):
            await asyncio.gather(*(client.request(call()) for _ in range(5)))
            await client.request(call())
            assert server.rpcs().count("server/discover") == 1

    run(story())


def test_e14_the_era_is_asked_for_again_after_a_day() -> None:
    async def story() -> None:
        clock = HandClock()
        clock.now = SYSTEM.monotonic()
        async with serving(McpServer(era="modern"), clock=clock) as (server, client):
            await client.request(call())
            clock.now += 24 * 3600
            await client.request(call(within=25 * 3600))
            assert server.rpcs().count("server/discover") == 2

    run(story())


def test_e14_a_bare_404_makes_it_ask_again() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = writes(http(404, b"<html>", kind="text/html"))
        async with serving(fake) as (server, client):
            assert await faulty(client) == (50201, Effect.POSSIBLE)
            fake.era = "legacy"
            del fake.on["tools/call"]
            assert (await client.request(call())).era == "2025-06-18"
            assert server.rpcs().count("server/discover") == 2

    run(story())


def test_e15_a_server_pinned_to_modern_is_not_bridged() -> None:
    async def story() -> None:
        async with serving(McpServer(era="legacy"), era="modern") as (server, client):
            assert await faulty(client) == (50201, Effect.NONE)
            with pytest.raises(UpstreamFault, match="pinned"):
                await client.describe()
            assert "initialize" not in server.rpcs()

    run(story())


def test_e15_a_server_pinned_to_legacy_is_not_probed() -> None:
    async def story() -> None:
        async with serving(McpServer(era="modern"), era="legacy") as (server, client):
            assert await faulty(client) == (50201, Effect.NONE)
            assert set(server.rpcs()) == {"initialize"}

    run(story())


def test_finding_out_the_era_ends_at_the_deadline() -> None:
    async def story() -> None:
        async with serving(silence) as (_, client):
            async with asyncio.TaskGroup() as group:
                first = group.create_task(faulty(client, within=0.3))
                second = group.create_task(faulty(client, within=0.1))
            assert first.result() == second.result() == (50401, Effect.NONE)

    run(story())


# What is sent


def test_a_modern_call_is_sent_with_its_envelope_and_headers() -> None:
    async def story() -> None:
        async with serving(McpServer(era="modern")) as (server, client):
            request = call(
                "größe",
                params={"name": "größe", "arguments": {"b": 1, "a": "ü"}, "_meta": {"progressToken": "t"}},
                client_capabilities={"sampling": {}},
                param_headers=(("Mcp-Param-Region", "eu west"),),
            )
            await client.request(request)
            (seen,) = server.find("tools/call")
            headers = dict(seen.headers)
            assert headers.pop("content-length") == str(len(seen.body))
            assert headers.pop("user-agent").startswith("airlock/")
            assert headers == {
                "host": f"127.0.0.1:{server.port}",
                "accept": "application/json, text/event-stream",
                "accept-encoding": "identity",
                "content-type": "application/json",
                "mcp-protocol-version": "2026-07-28",
                "mcp-method": "tools/call",
                "mcp-name": "=?base64?Z3LDtsOfZQ==?=",
                "mcp-param-region": "eu west",
            }
            assert seen.message["params"]["_meta"] | {META + "clientInfo": 0} == {
                "progressToken": "t",
                META + "protocolVersion": "2026-07-28",
                META + "clientInfo": 0,
                META + "clientCapabilities": {"sampling": {}},
            }
            assert b'"arguments":{"b":1,"a":"\xc3\xbc"}' in seen.body

    run(story())


def test_a_legacy_call_is_sent_in_its_session() -> None:
    async def story() -> None:
        async with serving(McpServer(era="legacy")) as (server, client):
            await client.request(call(client_capabilities={"roots": {}}))
            (handshake,) = server.find("initialize")
            (seen,) = server.find("tools/call")
            assert handshake.message["params"]["capabilities"] == {"roots": {}}
            assert handshake.message["params"]["protocolVersion"] == "2025-11-25"
            assert "mcp-session-id" not in handshake.headers
            assert seen.headers["mcp-session-id"] == "s-1"
            assert seen.headers["mcp-protocol-version"] == "2025-06-18"
            assert "mcp-method" not in seen.headers
            assert seen.message["params"] == {"name": "add", "arguments": {"a": 1}}

    run(story())


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_a7_the_credential_is_in_every_request(era: str) -> None:
    async def story() -> None:
        credential = Credential(header="Authorization", value="Bearer s3cret")
        async with serving(McpServer(era=era), credential=credential) as (server, client):
            await client.request(call())
            await client.close()
            assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer s3cret"}

    run(story())


@pytest.mark.parametrize(
    "header",
    [("Authorization", "x"), ("Mcp-Param-A", "a\r\nX: y"), ("Mcp-Param-", "x"), ("Mcp-Param-A", "ü")],
)
def test_h17_only_encoded_parameters_become_headers(header: tuple[str, str]) -> None:
    async def story() -> None:
        async with serving(McpServer(era="modern")) as (server, client):
            with pytest.raises(ValueError, match="Mcp-Param"):
                await client.request(call(param_headers=(header,)))
            assert server.find("tools/call") == []

    run(story())


def test_f6_every_request_has_an_id_of_its_own() -> None:
    async def story() -> None:
        async with serving(McpServer(era="modern")) as (server, client):
            await asyncio.gather(*(client.request(call()) for _ in range(20)))
            numbers = [seen.message["id"] for seen in server.seen]
            assert len(set(numbers)) == len(numbers) == 21

    run(story())


def test_connections_are_reused() -> None:
    async def story() -> None:
        async with serving(McpServer(era="legacy")) as (server, client):
            for _ in range(10):
                await client.request(call())
            assert server.opened == 1

    run(story())


# What comes back


def test_an_answer_may_be_a_stream_and_its_notifications_come_in_order() -> None:
    async def streamed(seen: Seen, writer: asyncio.StreamWriter) -> None:
        number = seen.message["id"]
        writer.write(stream_head())
        writer.write(event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}}))
        await writer.drain()
        writer.write(event({"jsonrpc": "2.0", "method": "notifications/message"}))
        writer.write(event(result(number, ok=True)) + END)

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = streamed
        async with serving(fake) as (server, client):
            heard: list[tuple[str, dict[str, Any]]] = []
            answer = await client.request(
                call(), notify=lambda method, params: heard.append((method, params))
            )
            assert answer.result == {"ok": True}
            assert heard == [("notifications/progress", {"progress": 1}), ("notifications/message", {})]
            assert (await client.request(call())).result == {"ok": True}
            assert server.opened == 1

    run(story())


def test_h12_other_event_names_and_priming_events_are_no_messages() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        body = b"event: ping\ndata: x\n\nid: 1\ndata:\n\n: still here\n\n"
        body += b'data: {"jsonrpc":"2.0","id":@,"result":{}}\n\n'
        fake.on["tools/call"] = writes_and_closes(http(200, body, kind="text/event-stream"))
        async with serving(fake) as (_, client):
            assert (await client.request(call())).result == {}

    run(story())


def writes_and_closes(data: bytes) -> Handler:
    """An answer that ends with its connection, as of a server of HTTP/1.0."""
    handler = writes(data.replace(b"Content-Length", b"X-Length"))

    async def both(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await handler(seen, writer)
        writer.close()

    return both


@pytest.mark.parametrize("status", [200, 400, 404])
def test_errors_are_answers(status: int) -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        body = b'{"jsonrpc":"2.0","id": @ ,"error":{"code":-32602,"message":"no","data":[]}}'
        fake.on["tools/call"] = writes_and_closes(http(status, body))
        async with serving(fake) as (_, client):
            answer = await client.request(call())
            assert answer.error == {"code": -32602, "message": "no", "data": []}
            assert answer.result is None

    run(story())


def test_an_error_that_could_not_read_the_id_is_the_answer_of_its_status() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = writes(as_json(error(None, -32700), 400))
        async with serving(fake) as (_, client):
            answer = await client.request(call())
            assert answer.error is not None
            assert answer.error["code"] == -32700

    run(story())


def test_32020_is_surfaced_for_the_caller_to_reload_the_catalog() -> None:
    async def refuse(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(as_json(error(seen.message["id"], -32020), 400))

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = refuse
        async with serving(fake) as (server, client):
            answer = await client.request(call())
            assert answer.error is not None
            assert answer.error["code"] == -32020
            assert len(server.find("tools/call")) == 1

    run(story())


def test_32022_makes_it_ask_for_the_era_again_and_replays_once() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")

        async def refuse(seen: Seen, writer: asyncio.StreamWriter) -> None:
            fake.era = "legacy"
            del fake.on["tools/call"]
            writer.write(as_json(error(seen.message["id"], -32022), 400))

        fake.on["tools/call"] = refuse
        async with serving(fake) as (server, client):
            answer = await client.request(call())
            assert answer.era == "2025-06-18"
            assert len(server.find("tools/call")) == 2

    run(story())


def test_32022_twice_is_a_fault_without_effect() -> None:
    async def refuse(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(as_json(error(seen.message["id"], -32022), 400))

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = refuse
        async with serving(fake) as (server, client):
            assert await faulty(client) == (50201, Effect.NONE)
            assert len(server.find("tools/call")) == 2

    run(story())


def test_j8_answers_to_other_ids_are_dropped_and_counted() -> None:
    async def streamed(seen: Seen, writer: asyncio.StreamWriter) -> None:
        number = seen.message["id"]
        messages = [result(number + 1), result(str(number)), error(None, -1), result(number, right=1)]
        messages += [result(number, right=2)]
        writer.write(stream_head() + b"".join(map(event, messages)) + END)

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = streamed
        async with serving(fake) as (_, client):
            assert (await client.request(call())).result == {"right": 1}
            assert client.strays == 4

    run(story())


def test_a_request_of_a_legacy_server_is_answered_on_its_own_post() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")

        async def asking(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(stream_head())
            writer.write(event({"jsonrpc": "2.0", "id": "p", "method": "ping"}))
            writer.write(event({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {}}))
            await until(lambda: len(server.find("answer")) == 2)
            writer.write(event(result(seen.message["id"])) + END)

        fake.on["tools/call"] = asking
        async with serving(fake) as (server, client):
            assert (await client.request(call())).result == {}
            assert [seen.message for seen in server.find("answer")] == [
                {"jsonrpc": "2.0", "id": "p", "result": {}},
                {"jsonrpc": "2.0", "id": 7, "error": {"code": -32601, "message": "Method not found"}},
            ]
            assert {seen.headers["mcp-session-id"] for seen in server.find("answer")} == {"s-1"}

    run(story())


def test_a_request_of_a_modern_server_is_a_violation() -> None:
    async def asking(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(stream_head() + event({"jsonrpc": "2.0", "id": 1, "method": "ping"}))

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = asking
        async with serving(fake) as (_, client):
            assert await faulty(client) == (50201, Effect.POSSIBLE)

    run(story())


def test_a_server_that_asks_without_end_is_cut_off() -> None:
    async def asking(_: Seen, writer: asyncio.StreamWriter) -> None:
        question = event({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        writer.write(stream_head() + question * 65)

    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["tools/call"] = asking
        async with serving(fake) as (server, client):
            assert await faulty(client) == (50201, Effect.POSSIBLE)
            await until(lambda: bool(server.find("notifications/cancelled")))

    run(story())


# What goes wrong

MISBEHAVIOUR = {
    "garbage": (b"\x00\x01garbage\r\n\r\n", 50201),
    "html": (http(200, b"<html>", kind="text/html"), 50201),
    "no type": (http(200, b"{}", kind=""), 50201),
    "not json": (http(200, b"{"), 50201),
    "duplicate key": (http(200, b'{"jsonrpc":"2.0","id":1,"id":2,"result":{}}'), 50201),
    "batch": (http(200, b"[]"), 50201),
    "wrong id": (http(200, json.dumps(result(10**6)).encode()), 50201),
    "no answer": (http(202, kind=""), 50201),
    "no content": (http(204, kind=""), 50201),
    "redirect": (http(307, b"", "Location: http://169.254.169.254/"), 50201),
    "compressed": (http(200, b"x", "Content-Encoding: gzip"), 50201),
    "server error": (http(500, b"oops", kind="text/plain"), 50301),
    "bad gateway": (http(502, b"<html>", kind="text/html"), 50301),
    "too many": (http(429), 50301),
    "client error": (http(400, b"<html>", kind="text/html"), 50201),
    "upgrade": (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 50201),
    "two lengths": (b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 50201),
    "length and chunks": (
        b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        50201,
    ),
    "endless header": (b"HTTP/1.1 200 X\r\nX: " + b"a" * 40000, 50201),
    "many headers": (b"HTTP/1.1 200 X\r\n" + b"X: a\r\n" * 9000, 50201),
    "empty stream": (stream_head() + END, 50201),
    "bad event": (stream_head() + event([1]), 50201),
    "huge event": (stream_head() + b"500000\r\ndata: " + b"a" * 5_000_000, 50201),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_a_misbehaving_server_is_a_fault_of_its_own_call_only(what: str) -> None:
    data, code = MISBEHAVIOUR[what]

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = writes(data)
        async with serving(fake) as (server, client):
            assert await faulty(client) == (code, Effect.POSSIBLE)
            assert len(server.find("tools/call")) == 1
            del fake.on["tools/call"]
            assert (await client.request(call())).result is not None

    run(story())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 50301),
        (b"HTTP/1.1 200", 50201),
        (b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{", 50201),
        (stream_head() + event({"jsonrpc": "2.0", "method": "notifications/message"}), 50201),
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_call_whose_connection_is_lost_is_in_doubt_and_never_repeated(
    data: bytes, code: int, reset: bool
) -> None:
    async def drop(_: Seen, writer: asyncio.StreamWriter) -> None:
        if data:
            writer.write(data)
            await writer.drain()
        if reset and not data:
            writer.transport.abort()
        else:
            writer.close()

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = drop
        async with serving(fake) as (server, client):
            assert await faulty(client) == (code, Effect.POSSIBLE)
            assert len(server.find("tools/call")) == 1

    run(story())


def test_f9_a_list_is_asked_for_once_more_when_its_connection_failed_before_an_answer() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")

        async def drop(_: Seen, writer: asyncio.StreamWriter) -> None:
            del fake.on["tools/list"]
            writer.close()

        fake.on["tools/list"] = drop
        async with serving(fake) as (server, client):
            assert len((await client.describe()).tools) == 1
            assert len(server.find("tools/list")) == 2

    run(story())


def test_f9_and_not_a_second_time() -> None:
    async def drop(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/list"] = drop
        async with serving(fake) as (server, client):
            with pytest.raises(UpstreamFault):
                await client.describe()
            assert len(server.find("tools/list")) == 2

    run(story())


def test_a_server_that_is_not_there_had_no_part_in_the_call() -> None:
    async def story() -> None:
        async with RawServer(silence) as server:
            url = server.url
        assert await faulty(upstream(url)) == (50301, Effect.NONE)

    run(story())


@pytest.mark.parametrize(
    ("status", "effect"), [(401, Effect.NONE), (403, Effect.NONE), (405, Effect.NONE), (503, Effect.POSSIBLE)]
)
def test_the_effect_is_none_only_where_the_status_says_so(status: int, effect: Effect) -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = writes(http(status, b"", "Retry-After: 7"))
        async with serving(fake) as (_, client):
            with pytest.raises(UpstreamFault) as caught:
                await client.request(call())
            assert caught.value.effect is effect
            assert caught.value.retry_after == (7 if status == 503 else None)

    run(story())


def test_h16_a_silent_server_times_out() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = silence
        async with serving(fake, first_byte=0.1) as (_, client):
            await client.describe()
            with pytest.raises(UpstreamFault, match="silent") as caught:
                await client.request(call())
            assert (caught.value.code, caught.value.effect) == (50401, Effect.POSSIBLE)

    run(story())


def test_h16_a_drip_does_not_outlast_the_deadline() -> None:
    async def drip(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = drip
        async with serving(fake) as (_, client):
            assert await faulty(client, within=0.2) == (50401, Effect.POSSIBLE)

    run(story())


def test_f8_repeated_failures_open_the_breaker() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = writes(http(500))
        async with serving(fake) as (server, client):
            assert client.breaker == breaker.BreakerState.CLOSED
            for _ in range(5):
                await faulty(client)
            assert client.breaker == breaker.BreakerState.OPEN
            assert await faulty(client) == (50301, Effect.NONE)
            assert len(server.find("tools/call")) == 5

    run(story())


def test_f8_errors_and_cancelled_calls_are_no_failures() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        async with serving(fake) as (_, client):
            for _ in range(6):
                await client.request(msgspec.structs.replace(call(), method="prompts/get"))
            fake.on["tools/call"] = silence
            for _ in range(6):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await client.request(call())
            assert client.breaker == breaker.BreakerState.CLOSED

    run(story())


def test_f8_a_slow_server_delays_no_other() -> None:
    async def story() -> None:
        slow = McpServer(era="modern")
        slow.on["tools/call"] = silence
        async with (
            serving(slow) as (server, first),
            serving(McpServer(era="modern")) as (_, second),
            asyncio.TaskGroup() as group,
        ):
            stuck = [group.create_task(first.request(call(within=10))) for _ in range(70)]
            await until(lambda: len(server.find("tools/call")) == breaker.CONCURRENT)
            assert (await second.request(call(within=1))).result is not None
            for task in stuck:
                task.cancel()

    run(story())


# Giving up


def test_h14_cancelling_a_modern_call_closes_its_stream_at_once() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = silence
        async with serving(fake) as (server, client):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(client.request(call()))
                await until(lambda: bool(server.find("tools/call")))
                task.cancel()
                await until(lambda: server.closed == 1, 0.1)
            assert server.rpcs()[-1] == "tools/call"

    run(story())


def test_cancelling_a_legacy_call_tells_the_server_within_100_ms() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["tools/call"] = silence
        async with serving(fake) as (server, client):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(client.request(call()))
                await until(lambda: bool(server.find("tools/call")))
                task.cancel()
                await until(lambda: bool(server.find("notifications/cancelled")), 0.1)
            (cancelled,) = server.find("notifications/cancelled")
            assert cancelled.message["params"]["requestId"] == server.find("tools/call")[0].message["id"]
            assert "id" not in cancelled.message
            assert cancelled.headers["mcp-session-id"] == "s-1"
            assert cancelled.connection != server.find("tools/call")[0].connection

    run(story())


def test_a_legacy_call_that_times_out_is_cancelled_too() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["tools/call"] = silence
        async with serving(fake) as (server, client):
            assert await faulty(client, within=0.1) == (50401, Effect.POSSIBLE)
            await until(lambda: bool(server.find("notifications/cancelled")))

    run(story())


def test_a_cancelled_call_leaves_no_answer_for_the_next_one() -> None:
    async def late(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(as_json(result(seen.message["id"], late=True)))

    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["tools/call"] = late
        async with serving(fake) as (server, client):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await client.request(call())
            del fake.on["tools/call"]
            for _ in range(3):
                answer = await client.request(call())
                assert answer.result is not None
                assert "late" not in answer.result
            assert client.strays == 0
            assert len(server.find("notifications/cancelled")) <= 1

    run(story())


def test_a_server_that_cannot_be_told_of_a_cancellation_is_left_alone() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        server = RawServer(fake)
        client = upstream("http://127.0.0.1:1/")

        async def hang(_: Seen, writer: asyncio.StreamWriter) -> None:
            server.stop_listening()
            writer.write(stream_head() + event([]))

        fake.on["tools/call"] = hang
        async with server:
            client = upstream(server.url)
            assert await faulty(client) == (50201, Effect.POSSIBLE)
            await client.close()

    run(story())


def test_what_a_notification_callback_raises_ends_the_call_and_its_connection() -> None:
    async def streamed(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(stream_head() + event({"jsonrpc": "2.0", "method": "notifications/message"}))

    def broken(method: str, params: dict[str, Any]) -> None:
        raise RuntimeError(method, params)

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = streamed
        async with serving(fake) as (server, client):
            with pytest.raises(RuntimeError):
                await client.request(call(), notify=broken)
            await until(lambda: server.closed == 1)

    run(story())


# Sessions


def test_s5_callers_and_capability_sets_have_sessions_of_their_own() -> None:
    async def story() -> None:
        async with serving(McpServer(era="legacy")) as (server, client):
            for principal in ("a", "b", "a"):
                await client.request(call(principal=principal))
            await client.request(call(principal="a", client_capabilities={"roots": {}}))
            sessions = [seen.headers["mcp-session-id"] for seen in server.find("tools/call")]
            assert sessions == ["s-1", "s-2", "s-1", "s-3"]

    run(story())


def test_s6_a_lost_session_is_opened_once_more_and_the_call_replayed_once() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        async with serving(fake) as (server, client):
            await client.request(call())
            fake.alive.clear()
            assert (await client.request(call())).result is not None
            assert len(server.find("initialize")) == 2
            assert len(server.find("tools/call")) == 3

    run(story())


def test_s6_and_not_a_second_time() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["tools/call"] = writes(http(404))
        async with serving(fake) as (server, client):
            assert await faulty(client) == (50301, Effect.NONE)
            assert len(server.find("tools/call")) == 2

    run(story())


def test_a_refusal_that_names_no_request_ends_the_session_for_later_calls() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["tools/call"] = writes(as_json(error(None, -32000), 400))
        async with serving(fake) as (server, client):
            assert (await client.request(call())).error is not None
            del fake.on["tools/call"]
            assert (await client.request(call())).result is not None
            assert len(server.find("initialize")) == 2

    run(story())


def test_a_described_server_is_read_again_in_the_session_that_replaced_a_lost_one() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        async with serving(fake) as (server, client):
            await client.describe()
            fake.alive.clear()

            async def changed(seen: Seen, writer: asyncio.StreamWriter) -> None:
                fake.alive.add("s-9")
                answer = result(
                    seen.message["id"],
                    protocolVersion="2025-11-25",
                    capabilities={"tools": {}},
                    serverInfo={},
                    instructions="Changed.",
                )
                writer.write(as_json(answer, 200, "Mcp-Session-Id: s-9"))

            fake.on["initialize"] = changed
            assert (await client.describe()).instructions == "Changed."
            assert len(server.find("server/discover")) == 1

    run(story())


def test_servers_without_session_ids_work() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy", session_ids=False)
        async with serving(fake) as (server, client):
            await client.request(call())
            await client.request(call())
            assert len(server.find("initialize")) == 1
            assert "mcp-session-id" not in server.find("tools/call")[0].headers
            await client.close()
            assert "DELETE" not in server.rpcs()

    run(story())


def test_a_server_without_session_ids_introduces_itself_at_every_description() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy", session_ids=False)
        async with serving(fake) as (server, client):
            await client.describe()
            await client.describe()
            assert len(server.find("initialize")) == 2

    run(story())


def test_s4_sessions_are_ended_at_the_server() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        async with serving(fake) as (_, client):
            await client.request(call(principal="a"))
            await client.request(call(principal="b"))
            assert len(fake.alive) == 2
            await client.close()
            assert fake.alive == set()

    run(story())


def test_idle_sessions_are_ended_by_a_sweep() -> None:
    async def story() -> None:
        clock = HandClock()
        clock.now = SYSTEM.monotonic()
        fake = McpServer(era="legacy")
        async with serving(fake, clock=clock) as (server, client):
            await client.request(call())
            clock.now += 601
            await client.sweep()
            assert fake.alive == set()
            assert server.rpcs()[-1] == "DELETE"

    run(story())


@pytest.mark.parametrize("bad", ["x y", "\x7f", "ü", "x" * 1025])
def test_a_session_id_that_is_not_visible_ascii_is_refused(bad: str) -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")

        async def handshake(seen: Seen, writer: asyncio.StreamWriter) -> None:
            answer = result(seen.message["id"], protocolVersion="2025-11-25", capabilities={}, serverInfo={})
            body = json.dumps(answer).encode()
            head = (
                b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nMcp-Session-Id: %b\r\n" % bad.encode()
            )
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        fake.on["initialize"] = handshake
        async with serving(fake) as (_, client):
            assert await faulty(client) == (50201, Effect.NONE)

    run(story())


@pytest.mark.parametrize("status", [400, 500])
def test_a_handshake_that_is_not_taken_to_its_end_fails(status: int) -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["notifications/initialized"] = writes(http(status, b"no", kind="text/plain"))
        async with serving(fake) as (_, client):
            assert await faulty(client) == (50201, Effect.NONE)

    run(story())


def test_closing_fails_what_runs() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = silence
        async with serving(fake) as (server, client), asyncio.TaskGroup() as group:
            task = group.create_task(faulty(client))
            await until(lambda: bool(server.find("tools/call")))
            await client.close()
            assert await task == (50301, Effect.POSSIBLE)

    run(story())


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_the_loop_of_the_standard_library_serves_as_well(era: str) -> None:
    async def story() -> None:
        fake = McpServer(era=era)
        async with serving(fake) as (server, client):
            assert len((await client.describe()).tools) == 1
            assert (await client.request(call())).result is not None
            fake.on["tools/call"] = silence
            assert await faulty(client, within=0.05) == (50401, Effect.POSSIBLE)
            fake.on["tools/call"] = writes(stream_head() + event({}))
            assert await faulty(client) == (50201, Effect.POSSIBLE)
            server.stop_listening()

    run(story(), loop=asyncio.new_event_loop)


def test_h15_a_stream_is_bounded_as_a_whole() -> None:
    async def flood(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(stream_head())
        for _each in range(65):
            writer.write(chunk(b":" + b"a" * (1024 * 1024 - 2) + b"\n"))
            await writer.drain()

    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = flood
        async with serving(fake) as (_, client):
            with pytest.raises(UpstreamFault, match="stream larger"):
                await client.request(call(within=15))

    run(story())


def test_h15_a_body_is_bounded() -> None:
    async def story() -> None:
        fake = McpServer(era="modern")
        fake.on["tools/call"] = writes(http(200, b" " * (16 * 1024 * 1024 + 1)))
        async with serving(fake) as (_, client):
            with pytest.raises(UpstreamFault, match="body larger"):
                await client.request(call())

    run(story())


def test_a_handshake_without_end_ends_at_the_deadline_and_closes_its_connection() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["notifications/initialized"] = silence
        async with serving(fake) as (server, client):
            assert await faulty(client, within=0.3) == (50401, Effect.NONE)
            await until(lambda: server.closed == 1)

    run(story())


def test_a_session_whose_end_cannot_be_told_is_forgotten() -> None:
    async def drop(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["DELETE"] = drop
        async with serving(fake) as (server, client):
            await client.request(call())
            await client.close()
            assert len(server.find("DELETE")) == 1

    run(story())


NOTE = b'data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n'


def test_messages_of_one_call_are_bounded_in_number() -> None:
    async def story() -> None:
        server = McpServer(era="modern")
        answer = event(result(1)).replace(b'"id": 1', b'"id": @')
        server.on["tools/call"] = writes(stream_head() + chunk(NOTE * (MESSAGES_MOST + 1)) + answer + END)
        async with serving(server) as (_, client):
            assert await faulty(client) == (50201, Effect.POSSIBLE)

    run(story())


def test_while_many_messages_are_taken_others_have_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def ignore(connection: Connection) -> None:
        del connection

    async def story() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            exchange = Exchange(Connection(clock=SYSTEM, sock=ours, freed=ignore, gone=ignore))
            exchange.head(200, {b"content-type": b"text/event-stream"})
            exchange.body(NOTE * 6400)
            running = asyncio.get_running_loop().create_task(others())
            for _ in range(6400):
                await exchange.next()
            running.cancel()

    run(story())
    assert turns == 6400 // MESSAGES_AT_ONCE
