"""The stream on which a modern server tells of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from airlock.core import log
from airlock.core.clock import SYSTEM
from airlock.core.config import ServerEntry
from airlock.upstream import listening
from airlock.upstream.http import HttpUpstream
from tests.upstream.http_parts import (
    END,
    McpServer,
    RawServer,
    as_json,
    call,
    error,
    event,
    result,
    run,
    stream_head,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from airlock.model.upstream import UpstreamAnswer
    from tests.upstream.http_parts import Seen

TELLING = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PAUSE", 0.001)


def notice(method: str, **params: Any) -> bytes:
    told = {**params, "_meta": {"io.modelcontextprotocol/subscriptionId": 1}}
    return event({"jsonrpc": "2.0", "method": f"notifications/{method}", "params": told})


class Story:
    """A modern server that tells of changes, and what is heard of it."""

    def __init__(self, capabilities: dict[str, Any] | None = None) -> None:
        self.mcp = McpServer(era="modern")
        self.mcp.on["server/discover"] = self._discover
        self.mcp.on["subscriptions/listen"] = self._listen
        self.capabilities = TELLING if capabilities is None else capabilities
        self.listeners: list[tuple[Seen, asyncio.StreamWriter]] = []
        self.refuses = False
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    async def _discover(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        found = result(
            seen.message["id"],
            supportedVersions=["2026-07-28"],
            capabilities=self.capabilities,
            resultType="complete",
        )
        writer.write(as_json(found))

    async def _listen(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.write(as_json(error(seen.message["id"], -32601), 404))
            return
        self.listeners.append((seen, writer))
        writer.write(stream_head() + notice("subscriptions/acknowledged", notifications={}))

    def filters(self) -> list[dict[str, Any]]:
        return [seen.message["params"]["notifications"] for seen, _ in self.listeners]

    def says(self, data: bytes) -> None:
        self.listeners[-1][1].write(data)

    def heard(self, session: str, method: str, params: dict[str, Any]) -> None:
        self.told.append((session, method.removeprefix("notifications/"), params))

    def run(self, scenario: Callable[[HttpUpstream, RawServer], Awaitable[None]]) -> None:
        async def all() -> None:
            async with RawServer(self.mcp) as server:
                entry = msgspec.convert({"name": "fake", "transport": "http", "url": server.url}, ServerEntry)
                upstream = HttpUpstream(
                    entry=entry, credential=None, clock=SYSTEM, logger=log.get("upstream"), told=self.heard
                )
                await upstream.describe()
                await scenario(upstream, server)
                await upstream.close()

        run(all())


async def subscribe(upstream: HttpUpstream, session: str, uri: str = "test://a") -> UpstreamAnswer:
    request = call(params={"uri": uri}, session=session)
    return await upstream.request(msgspec.structs.replace(request, method="resources/subscribe"))


def test_changes_of_lists_are_heard_on_one_stream() -> None:
    story = Story()

    async def scenario(upstream: HttpUpstream, server: RawServer) -> None:
        await until(lambda: len(story.listeners) == 1)
        story.says(notice("tools/list_changed") + notice("message", data="x"))
        await until(lambda: bool(story.told))
        await upstream.describe()
        assert len(story.listeners) == 1

    story.run(scenario)
    assert story.told == [("", "tools/list_changed", {})]
    wished = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    assert story.filters() == [wished]
    headers = story.listeners[0][0].headers
    assert (headers["mcp-method"], headers["mcp-protocol-version"]) == ("subscriptions/listen", "2026-07-28")


def test_a_server_that_tells_of_nothing_is_not_listened_to() -> None:
    story = Story({"tools": {}})

    async def scenario(upstream: HttpUpstream, server: RawServer) -> None:
        assert not upstream.watch(frozenset({"test://a"}))
        answer = await subscribe(upstream, "s1")
        assert answer.error is not None
        assert answer.error["code"] == -32601
        await upstream.request(call())

    story.run(scenario)
    assert story.listeners == []


def test_a_stream_that_ends_is_opened_again_and_what_was_missed_counts_as_changed() -> None:
    story = Story()

    async def scenario(upstream: HttpUpstream, server: RawServer) -> None:
        await until(lambda: len(story.listeners) == 1)
        number = story.listeners[0][0].message["id"]
        story.says(event(result(number, resultType="complete")) + END)
        await until(lambda: len(story.listeners) == 2)
        story.listeners[1][1].transport.abort()
        await until(lambda: len(story.listeners) == 3)

    story.run(scenario)
    assert story.told == [("", "tools/list_changed", {})] * 2


def test_a_server_that_refuses_is_not_asked_again() -> None:
    story = Story()
    story.refuses = True

    async def scenario(upstream: HttpUpstream, server: RawServer) -> None:
        await until(lambda: server.rpcs().count("subscriptions/listen") == 1)
        await upstream.request(call())
        await upstream.describe()
        assert server.rpcs().count("subscriptions/listen") == 1

    story.run(scenario)


def test_resources_are_told_of_to_who_watches_them() -> None:
    story = Story({"resources": {"subscribe": True}})

    async def scenario(upstream: HttpUpstream, server: RawServer) -> None:
        assert (await subscribe(upstream, "s1")).result == {}
        await until(lambda: len(story.listeners) == 1)
        await subscribe(upstream, "s2", "test://b")
        assert upstream.watch(frozenset({"test://a"}))
        await until(lambda: len(story.listeners) == 2)
        story.told.clear()
        story.says(notice("resources/updated", uri="test://a") + notice("resources/updated", uri="test://c"))
        await until(lambda: len(story.told) == 2)
        await upstream.unsubscribe("s1", "test://a")
        await upstream.end_session("s2")
        upstream.watch(frozenset())
        await until(lambda: server.closed > 0)

    story.run(scenario)
    assert story.told[:2] == [
        ("", "resources/updated", {"uri": "test://a"}),
        ("s1", "resources/updated", {"uri": "test://a"}),
    ]
    assert story.filters() == [
        {"resourceSubscriptions": ["test://a"]},
        {"resourceSubscriptions": ["test://a", "test://b"]},
    ]


def test_a_legacy_server_tells_in_the_sessions_of_its_clients() -> None:
    story = Story()
    story.mcp = McpServer(era="legacy")

    async def scenario(upstream: HttpUpstream, server: RawServer) -> None:
        assert not upstream.watch(frozenset({"test://a"}))

    story.run(scenario)
