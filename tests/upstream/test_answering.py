"""Requests of a server while a call of ours runs: so many at once, each answered once."""

from __future__ import annotations

import asyncio
from typing import Any

from airlock.model.upstream import Answered
from airlock.upstream.answering import MOST, Answering


def test_a_server_that_asks_too_much_at_once_is_told_and_the_rest_is_answered() -> None:
    async def story() -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        answer = asyncio.Event()

        async def ask(method: str, params: dict[str, Any]) -> Answered:
            assert (method, params) == ("roots/list", {})
            await answer.wait()
            return Answered(result={"roots": []})

        async def tell(message: dict[str, Any]) -> None:
            told.append(message)

        async with asyncio.TaskGroup() as group:
            answering = Answering(ask=ask, tell=tell, group=group)
            for id in (*range(MOST), 0, MOST):
                await answering.asked({"id": id, "method": "roots/list"})
            answer.set()
        return told

    first, *rest = asyncio.run(story())
    assert (first["id"], first["error"]["code"]) == (MOST, -32603)
    assert sorted(each["id"] for each in rest) == list(range(MOST))
    assert all(each["result"] == {"roots": []} for each in rest)
