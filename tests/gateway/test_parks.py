"""A legacy server asks a modern client: calls that wait for the request that brings the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Refused, Rejected, UpstreamFault
from airlock.gateway import parked as parked_module
from airlock.gateway import parks
from airlock.gateway.parked import Parked, Start
from airlock.gateway.parks import Parks, nowhere
from airlock.model.call import Redacted, Round
from airlock.model.server import RegisteredServer
from airlock.model.upstream import Answered, Ask, UpstreamAnswer
from tests.gateway.parts import (
    MODERN_CLIENT,
    allowed,
    answered,
    failure_of,
    identified,
    redact_request,
    redact_response,
    registered,
    routed,
    until,
)

EVERYTHING: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
FORM: dict[str, Any] = {
    "message": "Who?",
    "requestedSchema": {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
    },
}
ACCEPTED = {"action": "accept", "content": {"name": "ada"}}


def legacy() -> RegisteredServer:
    server = registered()
    assert server.catalog is not None
    return msgspec.structs.replace(server, catalog=msgspec.structs.replace(server.catalog, era="2025-11-25"))


def call(
    capabilities: dict[str, Any] = EVERYTHING, said: Round | None = None, *, modern: bool = True
) -> Redacted:
    client = msgspec.structs.replace(MODERN_CLIENT, capabilities=capabilities, modern=modern)
    of = msgspec.structs.replace(routed(identified(client=client)), server=legacy())
    let = allowed(of)
    admitted = msgspec.structs.replace(let.admitted, round=said)
    return redact_request()(msgspec.structs.replace(let, admitted=admitted))


Serve = Start


def serving(*asked: tuple[str, dict[str, Any]], heard: list[Answered]) -> Serve:
    """A server that asks all this at once, and then answers."""

    async def serve(ask: Ask) -> UpstreamAnswer:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one(ask, method, params)) for method, params in asked]
        heard.extend(task.result() for task in tasks)
        return answered({"content": []})

    return serve


async def _one(ask: Ask, method: str, params: dict[str, Any]) -> Answered:
    return await ask(method, params)


class House:
    """The parks of one worker while a test runs."""

    def __init__(self) -> None:
        self.parks = Parks(
            node="n1", asked=redact_response().asked, answers=redact_request().answers, elsewhere=nowhere
        )
        self.heard: list[Answered] = []

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def all() -> None:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(self.parks.run())
                await asyncio.sleep(0)
                await scenario()
                running.cancel()

        asyncio.run(all())

    async def begin(self, *asked: tuple[str, dict[str, Any]], of: Redacted | None = None) -> UpstreamAnswer:
        return await self.parks(of or call(), serving(*asked, heard=self.heard))

    async def again(self, question: UpstreamAnswer, responses: dict[str, Any], **more: Any) -> UpstreamAnswer:
        assert question.park is not None
        said = Round(number=1, responses=responses, park=question.park.id, nonce=question.park.nonce)
        return await self.parks(call(said=msgspec.structs.replace(said, **more)), never)


async def never(ask: Ask) -> UpstreamAnswer:
    raise AssertionError("a call that goes on is not sent again")


def asked_in(question: UpstreamAnswer) -> dict[str, Any]:
    assert question.result is not None
    assert question.result["resultType"] == "input_required"
    return question.result["inputRequests"]


def test_what_a_server_asks_is_the_answer_and_the_call_goes_on_with_the_next_request() -> None:
    house = House()

    async def scenario() -> None:
        question = await house.begin(("elicitation/create", FORM), ("roots/list", {}))
        requests = asked_in(question)
        assert list(requests) == ["r1_1", "r1_2"]
        assert requests["r1_1"]["params"]["message"] == "Who? (asked by the server docs)"
        assert len(house.parks) == 1
        done = await house.again(question, {"r1_1": ACCEPTED, "r1_2": {"roots": []}, "other": {}})
        assert done.result == {"content": []}
        assert [one.result for one in house.heard] == [ACCEPTED, {"roots": []}]
        assert len(house.parks) == 0

    house.run(scenario)


def test_a_call_that_asks_nothing_is_answered_at_once() -> None:
    house = House()

    async def scenario() -> None:
        assert (await house.begin()).result == {"content": []}

    house.run(scenario)


def test_a_server_may_ask_again_in_another_round() -> None:
    house = House()

    async def serve(ask: Ask) -> UpstreamAnswer:
        for _ in range(3):
            house.heard.append(await ask("elicitation/create", FORM))
        return answered({"content": []})

    async def scenario() -> None:
        question = await house.parks(call(), serve)
        for number in (1, 2, 3):
            assert list(asked_in(question)) == [f"r{number}_1"]
            question = await house.again(question, {f"r{number}_1": ACCEPTED})
        assert question.park is None
        assert len(house.heard) == 3

    house.run(scenario)


def test_what_is_missing_or_wrong_is_asked_for_again() -> None:
    house = House()

    async def scenario() -> None:
        question = await house.begin(("elicitation/create", FORM), ("roots/list", {}))
        wrong = {"action": "accept", "content": {"name": 5}}
        question = await house.again(question, {"r1_1": wrong, "r1_2": {"roots": []}})
        assert list(asked_in(question)) == ["r1_1"]
        assert house.heard == []
        question = await house.again(question, {"r1_1": {"action": "decline"}})
        assert question.park is None
        assert [one.result for one in house.heard] == [{"action": "decline"}, {"roots": []}]

    house.run(scenario)


@pytest.mark.parametrize("more", [{"nonce": "another"}, {"nonce": ""}, {"park": "n1.unknown"}])
def test_a_state_counts_for_its_own_park_and_round(more: dict[str, Any]) -> None:
    house = House()

    async def scenario() -> None:
        question = await house.begin(("roots/list", {}))
        with pytest.raises(Rejected, check=failure_of("request_state_invalid")):
            await house.again(question, {"r1_1": {"roots": []}}, **more)

    house.run(scenario)


def test_a_state_counts_once() -> None:
    house = House()

    async def scenario() -> None:
        first = await house.begin(("roots/list", {}))
        again = await house.again(first, {})
        with pytest.raises(Rejected, check=failure_of("request_state_invalid")):
            await house.again(first, {"r1_1": {"roots": []}})
        done = await house.again(again, {"r1_1": {"roots": []}})
        assert done.park is None
        with pytest.raises(Rejected, check=failure_of("request_state_invalid")):
            await house.again(again, {"r1_1": {"roots": []}})

    house.run(scenario)


def test_a_call_that_another_process_held_is_lost_with_it() -> None:
    house = House()

    async def scenario() -> None:
        question = await house.begin(("roots/list", {}))
        with pytest.raises(Refused) as lost:
            await house.again(question, {}, park="n2.gone")
        assert (lost.value.code, lost.value.effect) == (41001, Effect.POSSIBLE)

    house.run(scenario)


def test_a_call_goes_on_for_another_process_with_that_of_its_first_round() -> None:
    house = House()

    async def scenario() -> None:
        question = await house.begin(("roots/list", {}))
        assert question.park is not None
        said = Round(number=1, responses={}, park=question.park.id, nonce=question.park.nonce)
        done = await house.parks.resume(None, said, {"r1_1": {"roots": []}})
        assert done.result == {"content": []}

    house.run(scenario)


def test_who_cannot_be_asked_is_told_what_is_missing_and_so_is_the_server() -> None:
    house = House()

    async def scenario() -> None:
        with pytest.raises(Rejected) as refused:
            await house.begin(("roots/list", {}), of=call({"sampling": {}}))
        assert (refused.value.http, refused.value.code) == (400, -32021)
        assert refused.value.data == {"requiredCapabilities": {"roots": {}}}
        await until(lambda: bool(house.heard))
        assert house.heard[0].error is not None
        assert house.heard[0].error["code"] == -32601

    house.run(scenario)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [("tools/call", {}, -32601), ("elicitation/create", {}, -32602)],
)
def test_what_is_no_question_is_answered_here(method: str, params: dict[str, Any], code: int) -> None:
    house = House()

    async def scenario() -> None:
        await house.begin((method, params))
        assert house.heard[0].error is not None
        assert house.heard[0].error["code"] == code

    house.run(scenario)


def test_the_seventeenth_question_of_a_round_is_refused() -> None:
    house = House()

    async def scenario() -> None:
        question = await house.begin(*[("roots/list", dict[str, Any]())] * 17)
        assert len(asked_in(question)) == 16

    house.run(scenario)


def test_a_server_that_never_stops_asking_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    monkeypatch.setattr("airlock.mcp.rounds.MOST_ROUNDS", 2)

    async def scenario() -> None:
        question = await house.begin(("roots/list", {}))
        question = await house.again(question, {})
        with pytest.raises(UpstreamFault):
            await house.again(question, {})

    house.run(scenario)


def test_a_principal_has_few_parked_calls() -> None:
    house = House()

    async def scenario() -> None:
        for _ in range(parks.MOST_OF_PRINCIPAL):
            await house.begin(("roots/list", {}))
        with pytest.raises(Refused) as refused:
            await house.begin(("roots/list", {}))
        assert refused.value.code == 42901
        assert len(house.parks) == parks.MOST_OF_PRINCIPAL

    house.run(scenario)


def test_who_is_not_waited_for_any_more_is_answered_for_and_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()
    monkeypatch.setattr(parks, "PATIENCE", 0.01)
    monkeypatch.setattr(parked_module, "LAST", 0.01)
    ended: list[bool] = []

    async def serve(ask: Ask) -> UpstreamAnswer:
        house.heard.append(await ask("elicitation/create", FORM))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        raise AssertionError("unreached")

    async def scenario() -> None:
        await house.parks(call(), serve)
        await until(lambda: bool(ended))
        assert house.heard == [Answered(result={"action": "cancel"})]
        assert len(house.parks) == 0

    house.run(scenario)


def test_nothing_is_forgotten_that_is_not_there() -> None:
    House().parks.forget("n1.unknown")


def test_a_client_that_leaves_takes_its_call_with_it() -> None:
    house = House()
    ended: list[bool] = []

    async def serve(ask: Ask) -> UpstreamAnswer:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        raise AssertionError("unreached")

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(house.parks(call(), serve))
            await asyncio.sleep(0.01)
            task.cancel()
        await until(lambda: bool(ended))

    house.run(scenario)


def test_what_ends_a_parked_call_is_heard_in_the_next_round() -> None:
    house = House()

    async def serve(ask: Ask) -> UpstreamAnswer:
        await ask("roots/list", {})
        raise UpstreamFault.unavailable("gone", effect=Effect.POSSIBLE)

    async def scenario() -> None:
        question = await house.parks(call(), serve)
        with pytest.raises(UpstreamFault):
            await house.again(question, {"r1_1": {"roots": []}})

    house.run(scenario)


def test_a_question_that_the_server_takes_back_is_not_waited_for() -> None:
    house = House()

    async def scenario() -> None:
        takes_back = asyncio.Event()

        async def serve(ask: Ask) -> UpstreamAnswer:
            async with asyncio.TaskGroup() as group:
                roots = group.create_task(_one(ask, "roots/list", {}))
                form = group.create_task(_one(ask, "elicitation/create", FORM))
                await takes_back.wait()
                roots.cancel()
            house.heard.append(form.result())
            return answered({"content": []})

        question = await house.parks(call(), serve)
        assert list(asked_in(question)) == ["r1_1", "r1_2"]
        takes_back.set()
        await asyncio.sleep(0.01)
        done = await house.again(question, {"r1_2": {"action": "cancel"}})
        assert (done.park, len(house.heard)) == (None, 1)

    house.run(scenario)


def test_only_calls_that_may_be_asked_something_are_held() -> None:
    house = House()
    assert house.parks.concern(call())
    assert house.parks.concern(call({})), "it is told what it would have to be able to do"
    assert not house.parks.concern(call(modern=False))
    assert house.parks.concern(call({}, Round(number=1, responses={}, park="n1.x")))


def test_nothing_is_held_before_somebody_holds_it() -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(House().begin())


SAMPLE: dict[str, Any] = {"method": "sampling/createMessage", "params": {"messages": []}}
URL: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {"mode": "url", "message": "Go", "url": "https://a.example/"},
}


FORMS: list[tuple[dict[str, Any], Any, bool]] = [
    (SAMPLE, {"role": "assistant", "content": {}}, True),
    (SAMPLE, {"role": "assistant"}, False),
    (SAMPLE, None, False),
    ({"method": "roots/list"}, {"roots": {}}, False),
    (URL, {"action": "accept"}, True),
    (URL, {"action": "yes"}, False),
    ({"method": "elicitation/create", "params": FORM}, {"action": "accept"}, False),
    ({"method": "elicitation/create", "params": FORM}, ACCEPTED, True),
    (
        {"method": "elicitation/create", "params": {"requestedSchema": {"properties": {"a": 1}}}},
        {"action": "accept", "content": {}},
        True,
    ),
    (
        {"method": "elicitation/create", "params": {"requestedSchema": {"type": "nothing"}}},
        {"action": "accept", "content": {}},
        True,
    ),
]


@pytest.mark.parametrize(("request_", "said", "fits"), FORMS)
def test_an_answer_has_the_form_of_its_question(request_: dict[str, Any], said: object, fits: bool) -> None:
    assert parked_module.fits(request_, said) is fits


def test_an_answered_question_is_not_answered_twice() -> None:
    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            heard: list[Answered] = []
            parked = Parked(id="n", call=call(), start=serving(("roots/list", {}), heard=heard), group=group)
            await parked.news()
            held = dict(parked.open)
            for one in held.values():
                one.answer.set_result(Answered(result={}))
            parked.deliver()
            parked.open = held
            parked.end()
            assert heard == []
            parked.task.cancel()

    asyncio.run(scenario())
