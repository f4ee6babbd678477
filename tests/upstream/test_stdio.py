"""A worker's side: the contract of an upstream over the runner, with real servers behind it."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import pytest
from msgspec import structs

from airlock.core.clock import SYSTEM
from airlock.core.config import ServerEntry
from airlock.core.errors import Effect, UpstreamFault
from airlock.model.upstream import UpstreamRequest
from airlock.upstream.breaker import BreakerState, Gate
from airlock.upstream.dialogue import MESSAGES_MOST
from airlock.upstream.stdio import StdioUpstream
from tests.upstream.stdio_parts import (
    HERE,
    NODE,
    PARTS,
    QUICK,
    answer,
    call,
    house,
    request,
    told,
    toy,
    until,
)

NPM = structs.replace(QUICK, probe=3.0, start=20.0)
"""Node takes a second to start when the machine is busy."""


def npm(name: str, *arguments: str) -> ServerEntry:
    program = PARTS / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js"
    for part in (NODE, program):
        assert part.exists(), f"the part {part.relative_to(PARTS)} is missing: run the set-up"
    return ServerEntry(
        name=name, transport="stdio", command=(str(NODE), str(program), *arguments), sensitivity="low"
    )


def test_the_file_system_server_reads_what_its_user_may_read() -> None:
    async def run() -> None:
        async with house(npm("filesystem", str(HERE)), timing=NPM) as found:
            upstream = found.upstream("filesystem")
            offer = await upstream.describe()
            assert offer.server_info["name"] == "secure-filesystem-server"
            assert "read_text_file" in {tool["name"] for tool in offer.tools}
            answered = await answer(upstream, "read_text_file", path=str(HERE / "servers" / "sdk.py"))
            assert told(answered).startswith('"""A server on the official SDK')
            assert answered.era == offer.era == "2025-11-25"

    asyncio.run(run())


def test_the_everything_server_reports_progress() -> None:
    async def run() -> None:
        notes: list[Any] = []
        async with house(npm("everything", "stdio"), timing=NPM) as found:
            upstream = found.upstream("everything")
            assert "echo" in {tool["name"] for tool in (await upstream.describe()).tools}
            answered = await upstream.request(
                request("trigger-long-running-operation", meta={"progressToken": "p"}, duration=0.4, steps=2),
                notify=lambda method, params: notes.append(
                    (method, params["progress"], params["progressToken"])
                ),
            )
            assert "completed" in told(answered)
            assert notes == [("notifications/progress", 1, "p"), ("notifications/progress", 2, "p")]

    asyncio.run(run())


def test_the_official_sdk_speaks_modern() -> None:
    entry = ServerEntry(
        name="sdk",
        transport="stdio",
        command=(sys.executable, str(HERE / "servers" / "sdk.py")),
        sensitivity="low",
    )

    async def run() -> None:
        notes: list[Any] = []
        async with house(entry, timing=NPM, root=False) as found:
            upstream = found.upstream("sdk")
            offer = await upstream.describe()
            assert (offer.era, offer.server_info["name"]) == ("2026-07-28", "sdk-toy")
            assert {tool["name"] for tool in offer.tools} == {"add", "wait"}
            answered = await answer(upstream, "add", a=2, b=3)
            assert answered.result is not None
            assert answered.result["structuredContent"] == {"result": 5}
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(
                    upstream.request(
                        request("wait", meta={"progressToken": 1}),
                        notify=lambda method, params: notes.append(params),
                    )
                )
                await until(lambda: bool(notes))
                waiting.cancel()
            assert (notes[0]["message"], notes[0]["progressToken"]) == ("waiting", 1)

    asyncio.run(run())


def test_an_error_is_an_answer() -> None:
    async def run() -> None:
        async with house(npm("everything", "stdio"), timing=NPM) as found:
            asked = UpstreamRequest(method="no/such", params={}, deadline=time.monotonic() + 20)
            answered = await found.upstream("everything").request(asked)
            assert answered.error is not None
            assert answered.error["code"] == -32601

    asyncio.run(run())


def test_a_server_that_keeps_failing_is_left_alone_for_a_while() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            upstream = StdioUpstream(name="toy", link=found.link, gate=Gate(clock=SYSTEM), clock=SYSTEM)
            for _ in range(5):
                with pytest.raises(UpstreamFault, match="no JSON"):
                    await answer(upstream, "nan")
            assert upstream.gate.breaker.state is BreakerState.OPEN
            with pytest.raises(UpstreamFault, match="given up for now"):
                await answer(upstream, "echo")
            await upstream.close()

    asyncio.run(run())


def test_a_server_that_is_not_there_is_not_shut_out_any_longer_than_that() -> None:
    async def run() -> None:
        async with house() as found:
            upstream = StdioUpstream(name="toy", link=found.link, gate=Gate(clock=SYSTEM), clock=SYSTEM)
            for _ in range(9):
                with pytest.raises(UpstreamFault, match="not configured"):
                    await answer(upstream, "echo")
            found.configure(toy())
            await found.state("ready")
            assert await call(upstream, "echo")

    asyncio.run(run())


def test_a_caller_that_goes_away_says_nothing_about_the_server() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            upstream = found.upstream()
            await call(upstream, "echo")
            for _ in range(6):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await answer(upstream, "hang")
            assert upstream.gate.breaker.state is BreakerState.CLOSED

    asyncio.run(run())


def test_a_flood_of_notifications_ends_its_call() -> None:
    notes: list[str] = []

    async def run() -> None:
        async with house(toy()) as found:
            upstream = found.upstream()
            with pytest.raises(UpstreamFault, match="notifications") as caught:
                await upstream.request(
                    request("progress", meta={"progressToken": 1}, marker="m", steps=MESSAGES_MOST + 1),
                    notify=lambda method, params: notes.append(method),
                )
            assert (caught.value.code, caught.value.effect) == (50201, Effect.POSSIBLE)

    asyncio.run(run())
    assert len(notes) == MESSAGES_MOST


def test_a_listener_that_fails_fails_its_own_call_only() -> None:
    def deaf(method: str, params: dict[str, Any]) -> None:
        raise ValueError("the client has gone")

    async def run() -> None:
        async with house(toy()) as found:
            with pytest.raises(ValueError, match="the client has gone"):
                await found.upstream().request(
                    request("progress", meta={"progressToken": 1}, marker="m", steps=1), notify=deaf
                )
            assert await call(found.upstream(), "echo")

    asyncio.run(run())


def test_a_notification_that_breaks_strict_json_is_dropped() -> None:
    async def run() -> None:
        notes: list[Any] = []
        async with house(toy()) as found:
            upstream = found.upstream()
            # The toy's first call has the id 3: discovery and the handshake took two.
            line = (
                '{"jsonrpc":"2.0","method":"notifications/progress",'
                '"params":{"progressToken":3,"progress":1,"progress":2}}'
            )
            await upstream.request(
                request("raw", meta={"progressToken": 1}, line=line),
                notify=lambda method, params: notes.append((method, params)),
            )
            await upstream.request(
                request(
                    "raw",
                    meta={"progressToken": 1},
                    line=line.replace(":3,", ":4,").replace(',"progress":2', ""),
                ),
                notify=lambda method, params: notes.append((method, params)),
            )
            assert notes == [("notifications/progress", {"progressToken": 1, "progress": 1})]

    asyncio.run(run())
