"""Resources of stdio servers that somebody watches: asked for once, told to who watches, over all lives."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from msgspec import structs

from airlock.core.clock import SYSTEM
from airlock.core.config import ServerEntry
from airlock.core.errors import UpstreamFault
from airlock.model.upstream import UpstreamRequest
from airlock.upstream.breaker import Gate
from airlock.upstream.frames import Event
from airlock.upstream.stdio import StdioUpstream
from tests.upstream.stdio_parts import House, call, house, toy, until

Told = list[tuple[str, str, dict[str, Any]]]


def telling(era: str) -> ServerEntry:
    entry = toy(mode=era)
    return structs.replace(entry, command=(*entry.command, "telling"))


async def met(found: House, told: Told) -> StdioUpstream:
    """One worker's upstream that has read the server."""
    upstream = StdioUpstream(
        name="toy",
        link=found.link,
        gate=Gate(clock=SYSTEM),
        clock=SYSTEM,
        told=lambda session, method, params: told.append((session, method, params)),
    )
    await upstream.describe()
    return upstream


async def subscribe(upstream: StdioUpstream, uri: str) -> Any:
    deadline = time.monotonic() + 20
    params = {"uri": uri}
    return await upstream.request(
        UpstreamRequest(method="resources/subscribe", params=params, session="s", deadline=deadline)
    )


async def asked_for(upstream: StdioUpstream, *uris: str) -> None:
    """Wait until the server is asked to tell of exactly these."""
    for _ in range(500):
        seen = await call(upstream, "watched")
        if sorted({*seen["subscribed"], *(uri for each in seen["listening"] for uri in each)}) == list(uris):
            assert len(seen["listening"]) <= 1
            return
        await asyncio.sleep(0.01)
    raise AssertionError(uris)


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_server_is_asked_for_what_anybody_watches_and_no_longer(era: str) -> None:
    async def run() -> None:
        told: Told = []
        async with house(telling(era)) as found:
            upstream = await met(found, told)
            assert (await subscribe(upstream, "a:1")).result == {}
            assert upstream.watch(frozenset({"a:1", "a:2"}))
            await asked_for(upstream, "a:1", "a:2")
            upstream.watch(frozenset())
            await asked_for(upstream, "a:1")
            await upstream.unsubscribe("s", "a:1")
            await asked_for(upstream)
            await subscribe(upstream, "a:3")
            await asked_for(upstream, "a:3")
            await upstream.end_session("s")
            await asked_for(upstream)

    asyncio.run(run())


def test_only_who_watches_a_resource_is_told() -> None:
    async def run() -> None:
        told: Told = []
        async with house(telling("legacy")) as found:
            upstream = await met(found, told)
            await subscribe(upstream, "a:1")
            await asked_for(upstream, "a:1")
            await call(upstream, "updated", uri="a:2")
            await call(upstream, "updated", uri="a:1")
            await call(upstream, "raw", line='{"method":"notifications/resources/updated","params":{}}')
            await until(lambda: Event(server="toy", event="updated", uri="a:1") in found.events)
            assert [event.uri for event in found.events if event.event == "updated"] == ["a:1"]
            upstream.updated("a:1")
            upstream.updated("a:2")
            assert told == [("s", "notifications/resources/updated", {"uri": "a:1"})]

    asyncio.run(run())


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_new_life_is_asked_again_and_a_worker_that_ends_watches_nothing(era: str) -> None:
    async def run() -> None:
        async with house(telling(era)) as found:
            upstream = await met(found, [])
            await subscribe(upstream, "a:1")
            before = found.runner.servers["toy"].process
            with pytest.raises(UpstreamFault, match="cannot be reached"):
                await call(upstream, "leave")
            await until(lambda: found.runner.servers["toy"].process not in (None, before))
            await asked_for(upstream, "a:1")
            found.link_tasks[0].cancel()
            await until(lambda: not found.runner.links)
            found.link = found.another_link()
            other = found.upstream()
            await asked_for(other)

    asyncio.run(run())


def test_a_server_that_does_not_tell_is_not_watched() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            upstream = await met(found, [])
            assert not upstream.watch(frozenset({"a:1"}))
            assert (await subscribe(upstream, "a:1")).error["code"] == -32601
            await upstream.close()

    asyncio.run(run())
