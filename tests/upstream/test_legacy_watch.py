"""Resources of a legacy server that modern clients watch: it is asked in the gateway's own session."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.upstream.http_parts import (
    McpServer,
    RawServer,
    Seen,
    as_json,
    error,
    event,
    result,
    run,
    stream_head,
    until,
    upstream,
)

A, B = "test://a", "test://b"
UPDATED = event({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": A}})


class Telling(McpServer):
    """A legacy server that keeps what is subscribed, in each session."""

    def __init__(self) -> None:
        super().__init__(era="legacy")
        self.subscribed: set[tuple[str, str]] = set()
        self.listeners: list[asyncio.StreamWriter] = []
        self.refuses = False
        self.on = {
            "initialize": self._hello,
            "resources/list": writes_result(resources=[]),
            "resources/templates/list": writes_result(resourceTemplates=[]),
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
            "GET": self._listen,
        }

    async def _hello(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self.alive.add(name := f"s-{len(self.alive) + 1}")
        answer = result(
            seen.message["id"],
            protocolVersion="2025-11-25",
            capabilities={"tools": {}, "resources": {"subscribe": True}},
            serverInfo={"name": "fake", "version": "1"},
        )
        writer.write(as_json(answer, 200, f"Mcp-Session-Id: {name}"))

    async def _subscribe(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.write(as_json(error(seen.message["id"], -32600), 404))
            return
        self.subscribed.add((seen.headers["mcp-session-id"], seen.message["params"]["uri"]))
        writer.write(as_json(result(seen.message["id"])))

    async def _unsubscribe(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self.subscribed.discard((seen.headers["mcp-session-id"], seen.message["params"]["uri"]))
        writer.write(as_json(result(seen.message["id"])))

    async def _listen(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        del seen
        writer.write(stream_head())
        self.listeners.append(writer)

    @property
    def uris(self) -> list[str]:
        return sorted(uri for _, uri in self.subscribed)


def writes_result(**fields: Any) -> Any:
    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(as_json(result(seen.message["id"], **fields)))

    return answer


def test_a_legacy_server_is_asked_for_what_is_watched_and_no_longer() -> None:
    async def story() -> None:
        fake, heard = Telling(), list[tuple[str, str, dict[str, Any]]]()

        def tell(session: str, method: str, params: dict[str, Any]) -> None:
            heard.append((session, method, params))

        async with RawServer(fake) as server:
            client = upstream(server.url, era="legacy", told=tell)
            assert not client.watch(frozenset({A}))  # nobody knows yet whether it tells
            await client.describe()
            assert client.watch(frozenset({A}))
            assert client.watch(frozenset({A, B}))
            await until(lambda: fake.uris == [A, B] and bool(fake.listeners))
            fake.listeners[0].write(UPDATED)
            await until(lambda: bool(heard))
            assert heard == [("", "notifications/resources/updated", {"uri": A})]
            client.watch(frozenset({B}))
            await until(lambda: fake.uris == [B])
            assert len(server.find("initialize")) == 1
            await client.close()

    run(story())


def test_a_session_that_the_server_lost_is_asked_again_when_it_is_read() -> None:
    async def story() -> None:
        fake = Telling()
        async with RawServer(fake) as server:
            client = upstream(server.url, era="legacy")
            await client.describe()
            fake.refuses = True
            client.watch(frozenset({A}))
            await until(lambda: bool(server.find("resources/subscribe")))
            fake.refuses = False
            await client.describe()
            await until(lambda: fake.uris == [A])
            client.watch(frozenset())
            await client.close()

    run(story())
