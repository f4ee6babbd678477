"""A modern server asks a legacy client."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Refused, Stage, UpstreamFault
from airlock.gateway.conversing import Conversing
from airlock.model.call import Redacted
from airlock.model.upstream import Answered, UpstreamAnswer, UpstreamRequest
from tests.gateway.parts import (
    LEGACY_CLIENT,
    allowed,
    answered,
    identified,
    redact_request,
    redact_response,
    routed,
)

FORM: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {"message": "Who?", "requestedSchema": {"properties": {"name": {"type": "string"}}}},
}
SAMPLE: dict[str, Any] = {"method": "sampling/createMessage", "params": {"messages": []}}
ROOTS = {"method": "roots/list"}
DONE = answered({"content": []})


def question(*requests: dict[str, Any], state: str | None = None, era: str = "2026-07-28") -> UpstreamAnswer:
    result: dict[str, Any] = {"resultType": "input_required"}
    if requests:
        result["inputRequests"] = {f"k{number}": request for number, request in enumerate(requests)}
    if state is not None:
        result["requestState"] = state
    return UpstreamAnswer(result=result, size=9, era=era)


class Talk:
    """A call, its client, and what its server answers in turn."""

    def __init__(self, *answers: UpstreamAnswer) -> None:
        client = msgspec.structs.replace(
            LEGACY_CLIENT, capabilities={"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
        )
        self.request = redact_request()
        self.call = self.request(allowed(routed(identified(client=client))))
        self.answers = list(answers)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[UpstreamRequest] = []
        self.says: Any = {"action": "accept"}

    async def put(self, call: Redacted, method: str, params: dict[str, Any], seconds: float = 0) -> Answered:
        self.heard.append((method, params))
        await asyncio.sleep(0)
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says if isinstance(self.says, Answered) else Answered(result=self.says)

    async def again(self, request: UpstreamRequest) -> UpstreamAnswer:
        self.sent.append(request)
        return self.answers.pop(0)

    def run(self) -> UpstreamAnswer:
        conversing = Conversing(put=self.put, asked=redact_response().asked, answers=self.request.answers)

        async def scenario() -> UpstreamAnswer:
            return await conversing(self.call, self.answers.pop(0), self.again)

        return asyncio.run(scenario())


def test_questions_become_requests_and_answers_go_back_with_the_state() -> None:
    talk = Talk(question(FORM, ROOTS, state="s1"), question(state="s2"), DONE)
    assert talk.run() is DONE
    assert [method for method, _ in talk.heard] == ["elicitation/create", "roots/list"]
    assert talk.heard[0][1]["message"] == "Who? (asked by the server docs)"
    first, second = (request.params for request in talk.sent)
    assert first["requestState"] == "s1"
    assert first["inputResponses"] == {"k0": {"action": "accept"}, "k1": {"action": "accept"}}
    assert (first["name"], first["arguments"]) == ("echo", {"text": "x"})
    assert second["requestState"] == "s2"
    assert "inputResponses" not in second


def test_no_state_is_made_up() -> None:
    talk = Talk(question(FORM), DONE)
    talk.run()
    assert "requestState" not in talk.sent[0].params


def test_an_answer_is_an_answer() -> None:
    for answer in (DONE, answered(error={"code": 1, "message": "no"})):
        talk = Talk(answer)
        assert talk.run() is answer
        assert talk.sent == []


def test_an_address_gets_an_id_that_older_clients_need() -> None:
    url = {"mode": "url", "message": "Go", "url": "https://login.example/"}
    talk = Talk(question({"method": "elicitation/create", "params": url}), DONE)
    entry = msgspec.structs.replace(
        talk.call.allowed.admitted.routed.server.entry, elicitation_hosts=("login.example",)
    )
    server = msgspec.structs.replace(talk.call.allowed.admitted.routed.server, entry=entry)
    of = msgspec.structs.replace(talk.call.allowed.admitted.routed, server=server)
    talk.call = talk.request(allowed(of))
    talk.run()
    assert talk.heard[0][1]["elicitationId"]


@pytest.mark.parametrize("says", [TimeoutError(), Answered(error={"code": -1, "message": "no"})])
def test_a_client_that_does_not_answer_a_form_cancels_it(says: object) -> None:
    talk = Talk(question(FORM), DONE)
    talk.says = says
    talk.run()
    assert talk.sent[0].params["inputResponses"] == {"k0": {"action": "cancel"}}


@pytest.mark.parametrize("asked", [SAMPLE, ROOTS])
def test_a_client_that_does_not_answer_anything_else_ends_the_call(asked: dict[str, Any]) -> None:
    talk = Talk(question(FORM, asked))
    talk.says = TimeoutError()
    with pytest.raises(Refused) as refused:
        talk.run()
    assert (refused.value.code, refused.value.effect) == (41001, Effect.POSSIBLE)
    assert talk.sent == []


def test_a_refusal_to_ask_ends_the_call() -> None:
    talk = Talk(question(FORM, ROOTS))
    talk.says = Refused(Stage.FORWARD, 42901, "rate_limited", "Too much.")
    with pytest.raises(Refused) as refused:
        talk.run()
    assert refused.value.code == 42901


@pytest.mark.parametrize(
    "answers",
    [
        (question(FORM, era="2025-11-25"),),
        (question({"method": "sampling/createMessage", "params": {"messages": [], "tools": []}}),),
        (question(state="s"),) * 9,
    ],
)
def test_what_a_server_may_not_ask_is_a_breach_of_the_protocol(answers: tuple[UpstreamAnswer, ...]) -> None:
    talk = Talk(*answers)
    with pytest.raises(UpstreamFault) as fault:
        talk.run()
    assert fault.value.code == 50201
