"""What a legacy server says beside its answers: requests of its own, streams that end early or never."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airlock.core.errors import UpstreamFault
from airlock.mcp.eras import LATEST_LEGACY
from airlock.model.upstream import Answered, UpstreamAnswer, UpstreamRequest
from airlock.upstream import http as upstream_http
from airlock.upstream import standing, wire
from airlock.upstream.http import HttpUpstream
from tests.upstream.http_parts import (
    END,
    McpServer,
    RawServer,
    Seen,
    as_json,
    call,
    chunk,
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

Told = list[tuple[str, str, dict[str, Any]]]
TEXT = {"content": [{"type": "text", "text": "3"}]}


@pytest.fixture(autouse=True)
def ids_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of two digits, in whose place a server writes the one that it means."""
    monkeypatch.setattr(upstream_http, "FIRST_ID_MOST", 1)


@asynccontextmanager
async def serving(fake: McpServer, **more: Any) -> AsyncGenerator[tuple[RawServer, HttpUpstream]]:
    async with RawServer(fake) as server:
        client = upstream(server.url, era="legacy", **more)
        try:
            yield server, client
        finally:
            await client.close()


def asking(method: str, id: object = "q", **params: Any) -> bytes:
    return event({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def told(method: str, **params: Any) -> bytes:
    return event({"jsonrpc": "2.0", "method": method, "params": params})


def numbered(number: int, message: object = None) -> bytes:
    data = "" if message is None else json.dumps(message)
    return chunk(f"id: e{number}\nretry: 1\ndata: {data}\n\n".encode())


def answers(server: RawServer) -> list[dict[str, Any]]:
    return [seen.message for seen in server.find("answer")]


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (Answered(result={"roots": []}), {"result": {"roots": []}}),
        (Answered(error={"code": -1, "message": "no"}), {"error": {"code": -1, "message": "no"}}),
    ],
)
def test_what_a_server_asks_is_answered_while_its_call_runs(answer: Answered, sent: dict[str, Any]) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    async def ask(method: str, params: dict[str, Any]) -> Answered:
        asked.append((method, params))
        return answer

    async def story() -> None:
        fake = McpServer(era="legacy")

        async def slow(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(stream_head() + asking("ping", 1) + asking("roots/list") + asking("roots/list"))
            await until(lambda: len(answers(server)) == 2)
            writer.write(event(result(seen.message["id"], **TEXT)) + END)

        fake.on["tools/call"] = slow
        async with serving(fake) as (server, client):
            found = await client.request(call(client_capabilities={"roots": {}}), ask=ask)
            assert found.result == TEXT
            assert asked == [("roots/list", {})], "one id is asked once"
            expected: list[dict[str, Any]] = [
                {"jsonrpc": "2.0", "id": 1, "result": {}},
                {"jsonrpc": "2.0", "id": "q", **sent},
            ]
            assert sorted(answers(server), key=str) == sorted(expected, key=str)

    run(story())


def test_an_answer_that_does_not_wait_withdraws_what_was_asked() -> None:
    ended: list[str] = []

    async def ask(method: str, params: dict[str, Any]) -> Answered:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(f"{method} {params}")
        raise AssertionError

    async def story() -> None:
        fake = McpServer(era="legacy")
        gone = told("notifications/cancelled", requestId="q") + told("notifications/cancelled", requestId=9)

        async def hasty(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(stream_head() + asking("roots/list"))
            await asyncio.sleep(0.05)
            writer.write(gone)
            await until(lambda: len(ended) == 1)
            writer.write(asking("roots/list", "r"))
            writer.write(event(result(seen.message["id"], **TEXT)) + END)

        fake.on["tools/call"] = hasty
        heard: list[str] = []
        async with serving(fake) as (server, client):
            found = await client.request(call(), ask=ask, notify=lambda method, _: heard.append(method))
            assert (found.result, heard) == (TEXT, ["notifications/cancelled"])
            assert not answers(server)

    run(story())


def test_a_fault_of_the_call_is_its_fault_whatever_was_asked() -> None:
    async def ask(method: str, params: dict[str, Any]) -> Answered:
        raise AssertionError((method, params))

    async def story() -> None:
        fake = McpServer(era="legacy")
        fake.on["tools/call"] = writes(http(500))
        async with serving(fake) as (_, client):
            with pytest.raises(UpstreamFault):
                await client.request(call(), ask=ask)

    run(story())


async def resumed(*streams: bytes) -> tuple[UpstreamAnswer, list[str]]:
    """A call whose stream ends after its first event, and what each further GET gets."""
    fake, left = McpServer(era="legacy"), list(streams)
    seen_ids: list[str] = []

    async def cut(seen: Seen, writer: asyncio.StreamWriter) -> None:
        del seen
        writer.write(stream_head() + numbered(1) + END)

    async def again(seen: Seen, writer: asyncio.StreamWriter) -> None:
        seen_ids.append(seen.headers["last-event-id"])
        number = json.dumps(server.find("tools/call")[0].message["id"]).encode()
        writer.write(left.pop(0).replace(b"77", number))

    fake.on["tools/call"], fake.on["GET"] = cut, again
    async with serving(fake) as (server, client):
        return await client.request(call()), seen_ids


def answered() -> bytes:
    return stream_head() + numbered(3, {"jsonrpc": "2.0", "id": 77, "result": TEXT}) + END


def test_a_stream_that_ends_early_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RETRY", 0.01)
    found, ids = run(resumed(stream_head() + numbered(2) + END, stream_head() + END, answered()))
    assert (found.result, ids) == (TEXT, ["e1", "e2", "e2"])


@pytest.mark.parametrize("stream", [http(404), http(405), http(200, b"{", kind="application/json")])
def test_a_stream_that_is_not_to_be_had_again_ends_the_call(stream: bytes) -> None:
    with pytest.raises(UpstreamFault) as fault:
        run(resumed(stream))
    assert (fault.value.code, fault.value.effect.value) == (50201, "possible")


def test_a_stream_is_not_asked_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RESUMED", 2)
    monkeypatch.setattr(wire, "RETRY", 0.01)
    with pytest.raises(UpstreamFault):
        run(resumed(stream_head() + END, stream_head() + END))


def changing(server: McpServer) -> None:
    async def hello(seen: Seen, writer: asyncio.StreamWriter) -> None:
        server.alive.add("s-1")
        told = result(
            seen.message["id"],
            protocolVersion=LATEST_LEGACY,
            capabilities={"tools": {"listChanged": True}, "logging": {}},
            serverInfo={"name": "fake", "version": "1"},
        )
        writer.write(as_json(told, 200, "Mcp-Session-Id: s-1"))

    server.on["initialize"] = hello


def test_changes_are_heard_on_a_stream_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "PAUSE", 0.01)

    async def story() -> None:
        fake, heard = McpServer(era="legacy"), Told()
        changing(fake)
        said = told("notifications/tools/list_changed") + told("notifications/other") + asking("roots/list")
        left = [http(500), stream_head() + numbered(5) + said + event(result(4)) + END]

        async def listen(seen: Seen, writer: asyncio.StreamWriter) -> None:
            if left:
                writer.write(left.pop(0))
            else:
                await silence(seen, writer)

        fake.on["GET"] = listen

        def tell(session: str, method: str, params: dict[str, Any]) -> None:
            heard.append((session, method, params))

        async with serving(fake, told=tell) as (server, client):
            await client.describe()
            await until(lambda: len(server.find("GET")) == 3)
            assert server.find("GET")[2].headers["last-event-id"] == "e5"
            assert heard == [("", "notifications/tools/list_changed", {})]
            assert answers(server)[0]["error"]["code"] == -32601
            await client.describe()
            assert len(server.find("GET")) == 3
        await until(lambda: server.closed == server.opened)

    run(story())


@pytest.mark.parametrize("offered", [http(405), http(200, b"{}")])
def test_a_server_without_such_a_stream_is_asked_once(offered: bytes) -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        changing(fake)
        fake.on["GET"] = writes(offered)
        async with serving(fake) as (server, client):
            await client.describe()
            await until(lambda: bool(server.find("GET")))
            await client.request(call())
            assert len(server.find("GET")) == 1

    run(story())


def subscribe(session: str) -> UpstreamRequest:
    return UpstreamRequest(
        method="resources/subscribe",
        params={"uri": "file:///a"},
        principal_key="p",
        session=session,
        deadline=call().deadline,
    )


def test_updates_are_heard_in_the_session_that_subscribed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "PAUSE", 0.01)

    async def story() -> None:
        fake, heard = McpServer(era="legacy"), Told()

        async def taken(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(as_json(result(seen.message["id"])))

        async def listen(seen: Seen, writer: asyncio.StreamWriter) -> None:
            del seen
            writer.write(stream_head() + told("notifications/resources/updated", uri="file:///a"))

        fake.on["resources/subscribe"], fake.on["GET"] = taken, listen

        def tell(session: str, method: str, params: dict[str, Any]) -> None:
            heard.append((session, method, params))

        async with serving(fake, told=tell) as (server, client):
            await client.request(subscribe("mine"))
            await until(lambda: bool(heard))
            assert heard == [("mine", "notifications/resources/updated", {"uri": "file:///a"})]
            await client.unsubscribe("mine", "file:///a")
            await client.tell_session("mine", "notifications/roots/list_changed")
            await client.tell_session("other", "notifications/roots/list_changed")
            await until(lambda: bool(server.find("notifications/roots/list_changed")))
            assert len(server.find("resources/unsubscribe")) == 1
            await client.end_session("mine")
            await until(lambda: bool(server.find("DELETE")))
            await client.request(call(session="mine"))
            assert len(server.find("initialize")) == 2

    run(story())


def test_the_level_of_a_session_is_told_once_where_the_server_logs() -> None:
    async def story() -> None:
        fake = McpServer(era="legacy")
        changing(fake)
        fake.on["GET"] = writes(http(405))
        async with serving(fake) as (server, client):
            for level in ("error", "error", "info"):
                await client.request(call(session="s", log_level=level))
            assert [seen.message["params"]["level"] for seen in server.find("logging/setLevel")] == [
                "error",
                "info",
            ]

    run(story())
