"""A request that takes long is said, with what it took; a quick one is not."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import pytest

from airlock.edge.slow import SLOW, watched
from airlock.mcp.headers import Headers
from airlock.model.call import Inbound, Reply
from airlock.model.upstream import Notify
from tests.api.doors import ADMIN, caller, request
from tests.gateway.parts import HandClock, Lines


@pytest.mark.parametrize(("seconds", "said"), [(0.5, []), (SLOW - 0.001, []), (2.5, [2500.0])])
def test_only_what_is_slow_is_said(seconds: float, said: list[float]) -> None:
    clock, lines = HandClock(), Lines()
    inbound = caller(ADMIN, request(path="/mcp")).inbound
    clock.seconds = inbound.received

    async def govern(_: Inbound, __: Notify) -> Reply:
        clock.seconds += seconds
        return Reply(body=b"{}", status=200)

    async def scenario() -> Reply:
        return await watched(govern, clock=clock, log=lines)(inbound, cast("Notify", None))

    assert asyncio.run(scenario()).status == 200
    assert [line["duration_ms"] for line in lines.lines] == said
    for line in lines.lines:
        assert (line["level"], line["event"], line["status"], line["correlation_id"]) == (
            "warning", "slow_request", 200, "r",
        )  # fmt: skip


def test_a_subscription_is_not_slow() -> None:
    clock, lines = HandClock(), Lines()
    fields = [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"subscriptions/listen")]
    inbound = msgspec.structs.replace(caller(ADMIN, request(path="/mcp")).inbound, headers=Headers(fields))

    async def govern(_: Inbound, __: Notify) -> Reply:
        clock.seconds += SLOW * 100
        return Reply(body=b"{}", status=200)

    async def scenario() -> Reply:
        return await watched(govern, clock=clock, log=lines)(inbound, cast("Notify", None))

    assert asyncio.run(scenario()).status == 200
    assert lines.lines == []
