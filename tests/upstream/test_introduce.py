"""E-13 and E-15: which era a stdio server speaks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec import structs

from airlock.core.errors import UpstreamFault
from airlock.upstream.lives import Timing
from tests.upstream.stdio_parts import QUICK, answer, call, house, request, told, toy


@pytest.mark.parametrize(
    ("mode", "era", "spoken"),
    [
        pytest.param("modern", "auto", "2026-07-28", id="DiscoverResult"),
        pytest.param("legacy", "auto", "2025-06-18", id="some other error"),
        pytest.param("mute", "auto", "2025-06-18", id="silence"),
        pytest.param("alien", "auto", "2025-06-18", id="a result that is none"),
        pytest.param("fragile", "auto", "2025-06-18", id="ends at the question"),
        pytest.param("slow", "auto", "2026-07-28", id="modern and slow to start"),
        pytest.param("modern", "modern", "2026-07-28", id="pinned to modern"),
        pytest.param("legacy", "legacy", "2025-06-18", id="pinned to legacy"),
    ],
)
def test_the_era_is_found(mode: str, era: Any, spoken: str) -> None:
    async def run() -> None:
        async with house(toy(mode=mode, era=era)) as found:
            offer = await described(found.upstream())
            assert (offer.era, offer.server_info) == (spoken, {"name": "toy", "version": "1"})
            assert len(offer.tools) == 34
            assert (await answer(found.upstream(), "echo")).era == spoken

    asyncio.run(run())


async def described(upstream: Any) -> Any:
    """A description, asked for again while the server is being started again."""
    while True:
        try:
            return await upstream.describe()
        except UpstreamFault as fault:
            assert fault.code == 50301
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("mode", "era", "reason"),
    [
        ("incompatible", "auto", "no protocol version in common"),
        ("legacy", "modern", "pinned to the modern era"),
        ("modern", "legacy", "initialize was answered with error -32601"),
        ("mute", "modern", "no answer within 0.5 s"),
    ],
)
def test_a_server_that_speaks_otherwise_is_not_used(mode: str, era: Any, reason: str) -> None:
    timing = Timing(probe=0.3, start=0.5, grace=QUICK.grace, restarts=QUICK.restarts)

    async def run() -> None:
        async with house(toy(mode=mode, era=era), timing=timing) as found:
            assert reason in await found.state("waiting")

    asyncio.run(run())


def test_a_modern_server_gets_the_envelope_with_every_request() -> None:
    """The caller's own capabilities: it asks in the answer to the call, so everybody knows whom."""

    async def run() -> None:
        async with house(toy(mode="modern")) as found:
            capabilities: dict[str, Any] = {
                "sampling": {},
                "elicitation": {"url": {}},
                "roots": {},
                "x": {"y": 1},
            }
            asked = structs.replace(
                request("echo", meta={"traceparent": "t"}), client_capabilities=capabilities
            )
            meta = json.loads(told(await found.upstream().request(asked)))["_meta"]
            assert meta["traceparent"] == "t"
            assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
            assert meta["io.modelcontextprotocol/clientCapabilities"] == capabilities
            assert "progressToken" not in meta

    asyncio.run(run())


def test_a_legacy_server_gets_none() -> None:
    async def run() -> None:
        async with house(toy()) as found:
            assert await call(found.upstream(), "echo", a=1) == {"name": "echo", "arguments": {"a": 1}}

    asyncio.run(run())
