"""Parked calls across workers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Fault, Refused, Rejected, Stage, UpstreamFault
from airlock.gateway import ferry as ferry_module
from airlock.gateway.ferry import Ferry
from airlock.gateway.parks import Parks
from airlock.model.call import Round
from airlock.model.upstream import Ask, UpstreamAnswer
from tests.gateway.parts import answered, redact_request, redact_response, until
from tests.gateway.test_parks import asked_in, call, never, serving

ANSWER: dict[str, Any] = {"roots": []}


class Workers:
    """Two workers, and the line between them."""

    def __init__(self) -> None:
        self.lost = False
        self.told: list[str] = []
        self.ferries = [Ferry(node=f"{slot}-boot", one=self.one) for slot in (0, 1)]
        for ferry in self.ferries:
            ferry.parks = Parks(
                node=ferry.node,
                asked=redact_response().asked,
                answers=redact_request().answers,
                elsewhere=ferry.over,
            )

    def parks(self, slot: int) -> Parks:
        parks = self.ferries[slot].parks
        assert parks is not None
        return parks

    async def one(self, slot: int, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        self.told.append(what)
        await asyncio.sleep(0)
        if self.lost:
            return None
        wire = msgspec.json.decode(msgspec.json.encode(body))
        told = await self.ferries[slot].hears[what](wire)
        return None if told is None else msgspec.json.decode(msgspec.json.encode(told))

    def run(self, scenario: Any) -> None:
        async def all() -> None:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(self.parks(slot).run()) for slot in (0, 1)]
                await asyncio.sleep(0)
                await scenario()
                for task in running:
                    task.cancel()

        asyncio.run(all())

    async def again(self, question: UpstreamAnswer, responses: dict[str, Any]) -> UpstreamAnswer:
        """With the other worker."""
        assert question.park is not None
        said = Round(number=1, responses=responses, park=question.park.id, nonce=question.park.nonce)
        return await self.parks(1)(call(said=said), never)


def test_another_worker_goes_on_with_a_call() -> None:
    workers = Workers()

    async def scenario() -> None:
        question = await workers.parks(0)(call(), serving(("roots/list", {}), ("roots/list", {}), heard=[]))
        again = await workers.again(question, {"r1_1": ANSWER})
        assert list(asked_in(again)) == ["r1_2"]
        done = await workers.again(again, {"r1_2": ANSWER})
        assert done.result == {"content": []}

    workers.run(scenario)


@pytest.mark.parametrize(
    "failure",
    [
        Rejected(400, -32021, "capability_missing", "No.", data={"requiredCapabilities": {}}),
        UpstreamFault.protocol("garbage"),
        Refused(
            Stage.FORWARD,
            40302,
            "contained",
            "No.",
            scope={"kind": "tool"},
            effect=Effect.POSSIBLE,
            lease="l",
        ),
    ],
)
def test_what_ends_a_call_is_raised_where_it_is_waited_for(failure: Refused | Fault) -> None:
    workers = Workers()

    async def serve(ask: Ask) -> UpstreamAnswer:
        await ask("roots/list", {})
        raise failure

    async def scenario() -> None:
        question = await workers.parks(0)(call(), serve)
        with pytest.raises((Refused, Fault)) as raised:
            await workers.again(question, {"r1_1": ANSWER})
        found = raised.value
        assert (found.code, found.reason, found.text) == (failure.code, failure.reason, failure.text)
        assert found.effect is failure.effect
        assert isinstance(found, Rejected) is isinstance(failure, Rejected)

    workers.run(scenario)


def test_a_state_that_was_used_is_refused_by_the_owner() -> None:
    workers = Workers()

    async def scenario() -> None:
        question = await workers.parks(0)(call(), serving(("roots/list", {}), heard=[]))
        await workers.again(question, {"r1_1": ANSWER})
        with pytest.raises(Rejected):
            await workers.again(question, {"r1_1": ANSWER})

    workers.run(scenario)


def test_a_call_whose_owner_is_gone_or_began_anew_is_lost() -> None:
    workers = Workers()

    async def scenario() -> None:
        question = await workers.parks(0)(call(), serving(("roots/list", {}), heard=[]))
        workers.ferries[0].node = "0-another"
        for lost in (False, True):
            workers.lost = lost
            with pytest.raises(Refused) as refused:
                await workers.again(question, {"r1_1": ANSWER})
            assert refused.value.code == 41001
        assert question.park is not None
        with pytest.raises(Refused):
            said = Round(number=1, responses={}, park="x.y", nonce="n")
            await workers.ferries[1].over(call(said=said), said, {})

    workers.run(scenario)


def test_who_never_heard_of_a_call_says_so() -> None:
    workers = Workers()

    async def scenario() -> None:
        assert await workers.one(0, ferry_module.RESUME, {"park": "0-boot.x"}) == {"gone": True}
        assert await workers.one(0, ferry_module.END, {"park": "0-boot.x"}) is None
        workers.ferries[0].parks = None
        body: dict[str, Any] = {"park": "0-boot.x", "nonce": "n", "number": 1, "responses": {}}
        assert await workers.one(0, ferry_module.RESUME, body) == {"gone": True}

    workers.run(scenario)


def test_a_long_call_is_asked_for_again_and_ends_with_who_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = Workers()
    monkeypatch.setattr(ferry_module, "POLL", 0.01)
    ended: list[bool] = []

    async def serve(ask: Ask) -> UpstreamAnswer:
        await ask("roots/list", {})
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return answered({})

    async def scenario() -> None:
        question = await workers.parks(0)(call(), serve)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(workers.again(question, {"r1_1": ANSWER}))
            await until(lambda: workers.told.count(ferry_module.RESUME) > 2)
            waiting.cancel()
        await until(lambda: bool(ended))

    workers.run(scenario)


def test_a_defect_of_the_owner_is_the_end_of_the_call() -> None:
    workers = Workers()

    async def serve(ask: Ask) -> UpstreamAnswer:
        await ask("roots/list", {})
        raise ValueError("a secret")

    async def scenario() -> None:
        question = await workers.parks(0)(call(), serve)
        with pytest.raises(Refused) as refused:
            await workers.again(question, {"r1_1": ANSWER})
        assert refused.value.code == 41001

    workers.run(scenario)


def test_a_call_that_was_cancelled_is_gone() -> None:
    workers = Workers()

    async def serve(ask: Ask) -> UpstreamAnswer:
        await ask("roots/list", {})
        raise asyncio.CancelledError

    async def scenario() -> None:
        question = await workers.parks(0)(call(), serve)
        with pytest.raises(Refused) as refused:
            await workers.again(question, {"r1_1": ANSWER})
        assert refused.value.code == 41001

    workers.run(scenario)
