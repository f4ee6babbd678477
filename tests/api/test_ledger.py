"""What lies behind a refused login, for the log and the row; and how much of it there is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airlock.api.ledger import LINES, ROWS, because
from airlock.core.errors import Effect, UpstreamFault
from airlock.identity.documents import unknown
from airlock.identity.refusals import Reason, invalid
from airlock.store.database import open_store
from tests.api.login_parts import World, agreed, back, rejected


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (invalid(Reason.NONCE), "token_nonce"),
        (UpstreamFault.unavailable("will not connect", effect=Effect.NONE), "will not connect"),
        (ValueError("anything"), ""),
        (None, ""),
    ],
    ids=["token", "fetch", "other", "none"],
)
def test_the_cause_of_a_refusal_is_told_to_the_operator(cause: BaseException | None, words: str) -> None:
    refused = unknown()
    refused.__cause__ = cause
    assert because(refused) == words


def test_who_comes_back_in_vain_again_and_again_is_counted(tmp_path: Path) -> None:
    """Everybody who asks gets a state: it costs a stranger two requests."""
    store = open_store(tmp_path / "sark.db")
    world = World(store)
    world.failure = rejected("access_denied", "login_provider_refused")

    async def scenario(times: int) -> None:
        for _ in range(times):
            await back(world, *await agreed(world))

    asyncio.run(scenario(ROWS + LINES + 5))
    assert len(world.rows) == ROWS
    assert world.strangers == ["login_provider_refused"] * (LINES + 5)
    assert len(world.lines) == ROWS + LINES
    world.clock.seconds += 1
    asyncio.run(scenario(1))
    store.close()
    assert len(world.rows) == ROWS + 1
