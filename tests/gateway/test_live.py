"""What runs can be cut, and says then why; a call that was allowed earlier looks again before it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Refused, Stage
from airlock.gateway.live import Live, no_longer
from airlock.model.call import Redacted
from airlock.model.server import Registry
from airlock.model.snapshot import Revocations, Snapshot
from tests.gateway.parts import (
    LEGACY_CLIENT,
    NOW,
    allowed,
    identified,
    principal,
    redacted,
    registered,
    routed,
    snapshot,
)


def contained(_: Redacted) -> Refused:
    return Refused(Stage.FORWARD, 40302, "contained", "No more.")


def test_a_call_is_live_while_it_runs() -> None:
    async def scenario() -> None:
        live = Live()
        with live.running(redacted()):
            assert len(live) == 1
        assert len(live) == 0

    asyncio.run(scenario())


def test_a_call_that_fails_is_live_no_more() -> None:
    async def scenario() -> None:
        live = Live()
        with pytest.raises(ValueError, match="broken"), live.running(redacted()):
            raise ValueError("broken")
        assert len(live) == 0

    asyncio.run(scenario())


async def hang(live: Live) -> None:
    with live.running(redacted()):
        await asyncio.Event().wait()


def test_a_call_that_is_cut_ends_with_the_reason_and_a_possible_effect() -> None:
    async def scenario() -> None:
        live = Live()
        work = asyncio.get_running_loop().create_task(hang(live))
        await asyncio.sleep(0)
        assert live.cut(contained) == 1
        with pytest.raises(Refused) as refused:
            await work
        assert (refused.value.reason, refused.value.effect) == ("contained_in_flight", Effect.POSSIBLE)
        assert len(live) == 0

    asyncio.run(scenario())


def test_a_call_is_cut_once() -> None:
    async def scenario() -> None:
        live = Live()
        work = asyncio.get_running_loop().create_task(hang(live))
        await asyncio.sleep(0)
        assert (live.cut(contained), live.cut(contained)) == (1, 0)
        with pytest.raises(Refused):
            await work

    asyncio.run(scenario())


def test_a_call_that_nothing_speaks_against_goes_on() -> None:
    async def scenario() -> None:
        live = Live()
        work = asyncio.get_running_loop().create_task(hang(live))
        await asyncio.sleep(0)
        assert live.cut(lambda _: None) == 0
        assert not work.cancelling()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(scenario())


@pytest.mark.parametrize("swallowed", [False, True])
def test_whoever_hears_that_a_call_was_cut_can_still_record_it(swallowed: bool) -> None:
    """The cancellation is used up, also where the upstream's own code swallowed it and gave a result."""

    async def scenario() -> None:
        live = Live()

        async def governed() -> int:
            with pytest.raises(Refused):
                await call()
            await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        async def call() -> None:
            with live.running(redacted()):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if not swallowed:
                        raise

        work = asyncio.get_running_loop().create_task(governed())
        await asyncio.sleep(0)
        live.cut(contained)
        assert await work == 0

    asyncio.run(scenario())


def test_a_call_runs_in_a_task() -> None:
    async def outside() -> None:
        with Live().running(redacted()):
            raise AssertionError("it must not run")

    loop = asyncio.new_event_loop()
    coroutine = outside()
    failures: list[BaseException] = []

    def step() -> None:
        try:
            coroutine.send(None)
        except RuntimeError as failure:
            failures.append(failure)

    loop.call_soon(step)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert [str(failure) for failure in failures] == ["a call runs in a task"]


ALICE = principal()

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, ""),
    "another token": ({"revocations": Revocations(token_ids=frozenset({"other"}))}, ""),
    "another person": ({"revocations": Revocations(subjects=frozenset({("acme", "x", "alice")}))}, ""),
    "the token": ({"revocations": Revocations(token_ids=frozenset({ALICE.token_id}))}, "principal"),
    "the person": (
        {"revocations": Revocations(subjects=frozenset({("acme", ALICE.issuer, "alice")}))},
        "principal",
    ),
    "no server": ({"registry": Registry(servers={})}, "server"),
    "another entry": ({"registry": Registry(servers={"docs": registered(sensitivity="high")})}, "server"),
    "the same entry": ({"registry": Registry(servers={"docs": registered()})}, ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_ends_a_call_that_was_allowed(change: str) -> None:
    parts, kind = CHANGES[change]
    now: Snapshot = msgspec.structs.replace(snapshot(), **parts)
    refusal = no_longer(redacted(), now, NOW)
    assert (refusal.scope or {}).get("kind") == kind if refusal else not kind
    assert refusal is None or refusal.code == 40302


def test_what_each_lease_cut_is_told_with_the_sessions_it_ended() -> None:
    async def scenario() -> dict[str, tuple[int, list[str]]]:
        live = Live()
        client = msgspec.structs.replace(LEGACY_CLIENT, session="sid")
        clients = (client, client, LEGACY_CLIENT)
        calls = [redacted(allowed(routed(identified(client=each)))) for each in clients]

        async def run(call: Redacted) -> None:
            with contextlib.suppress(Refused), live.running(call):
                await asyncio.sleep(60)

        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(run(call))
            await asyncio.sleep(0)
            live.cut(lambda _: Refused(Stage.ADMIT, 40302, "contained", "no", lease="L"))
        return await live.told()

    digest = hashlib.sha256(b"sid").hexdigest()
    assert asyncio.run(scenario()) == {"L": (3, [digest])}
