"""Questions to legacy clients: which are put, who answers them, and what servers hear."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airlock.core.errors import Refused, Stage
from airlock.gateway import questions
from airlock.gateway.questions import Questions, worker_asking
from airlock.gateway.relay import Relay
from airlock.mcp.jsonrpc import ClientResponse
from airlock.mcp.rounds import Requests
from airlock.model.call import Allowed, Findings, Redacted
from airlock.model.upstream import Answered
from tests.edge.parts import travel
from tests.gateway.session_parts import Rows, Stream, in_session

FORM: dict[str, Any] = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}


class Room:
    """One worker with one call of one client."""

    def __init__(self, **how: Any) -> None:
        self.stream = Stream()
        self.rows = Rows()
        self.questions = Questions(slot=4, record=self.rows)
        self.call = in_session(stream=self.stream, **how)
        self.refusal: Refused | None = None
        self.relay = Relay(
            questions=self.questions, asked=self._asked, answers=self._answers, record=self.rows
        )

    def _asked(self, call: Redacted, requests: Requests) -> Requests:
        del call
        if self.refusal is not None:
            raise self.refusal
        return requests

    def _answers(self, of: Allowed, said: dict[str, Any], found: Findings) -> dict[str, Any]:
        del of, found
        return {**said, "looked": True}

    async def ask(self, method: str, params: dict[str, Any], *said: ClientResponse) -> Answered:
        ask = self.relay(self.call)
        assert ask is not None
        asking = asyncio.ensure_future(ask(method, params))
        await asyncio.sleep(0.1)
        for response in said:
            id = self.stream.asked[-1]
            named = ClientResponse(id, result=response.result, error=response.error)
            assert not self.questions.answered("another session", named)
            assert self.questions.answered("s", named)
            assert not self.questions.answered("s", named)
        return await asking


ANSWER = ClientResponse("", result={"roots": []})


def test_a_question_is_put_on_the_stream_of_the_call_and_recorded() -> None:
    room = Room()
    assert travel(room.ask("roots/list", {}, ANSWER)) == Answered(result={"roots": [], "looked": True})
    assert room.stream.told == [("roots/list", {})]
    assert room.rows.rows == [("roots_list", "asked", False), ("roots_list", "answered", False)]
    assert worker_asking(room.stream.asked[0]) == 4
    assert len(room.questions) == 0


def test_an_error_of_the_client_is_handed_back_as_it_is() -> None:
    error = ClientResponse("", error={"code": -1, "message": "no"})
    assert travel(Room().ask("roots/list", {}, error)) == Answered(error=error.error)


@pytest.mark.parametrize("action", ["accept", "decline", "cancel", "else"])
def test_the_outcome_of_a_form_is_recorded_and_nothing_that_was_filled_in(action: str) -> None:
    room = Room()
    travel(room.ask("elicitation/create", FORM, ClientResponse("", result={"action": action})))
    assert room.rows.rows[-1] == ("elicitation", "answered", False)


@pytest.mark.parametrize(
    ("method", "params", "answer"),
    [
        ("elicitation/create", FORM, Answered(result={"action": "cancel"})),
        ("roots/list", {}, -32603),
    ],
)
def test_who_does_not_answer_in_time_is_not_waited_for(method: str, params: Any, answer: Any) -> None:
    room = Room()
    found = travel(room.ask(method, params))
    assert found == answer or (found.error or {}).get("code") == answer
    assert room.stream.told[-1][0] == "notifications/cancelled"
    assert room.rows.rows[-1][1] == "unanswered"


def test_a_request_that_is_taken_back_is_taken_back_from_the_client() -> None:
    room = Room()

    async def scenario() -> None:
        ask = room.relay(room.call)
        assert ask is not None
        asking = asyncio.ensure_future(ask("roots/list", {}))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait([asking])

    travel(scenario())
    assert room.stream.told[-1] == (
        "notifications/cancelled",
        {"requestId": room.stream.asked[0], "reason": "withdrawn"},
    )
    assert len(room.questions) == 0


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("tasks/get", {}, -32601),
        ("sampling/createMessage", {}, -32602),
        ("elicitation/create", {**FORM, "mode": "url", "url": "https://x"}, -32601),
    ],
)
def test_what_a_server_may_not_ask_it_does_not_ask(method: str, params: Any, code: int) -> None:
    room = Room()
    assert (travel(room.ask(method, params)).error or {})["code"] == code
    assert (room.stream.told, room.rows.rows[0][2]) == ([], True)


def test_what_policy_refuses_is_an_error_for_the_server() -> None:
    room = Room()
    room.refusal = Refused(Stage.REDACT, 40301, "policy_denied", "no")
    assert (travel(room.ask("roots/list", {})).error or {})["code"] == -32603
    assert room.rows.rows == [("roots_list", "policy_denied", True)]


def test_nobody_is_asked_who_declared_nothing_or_hears_nothing() -> None:
    room = Room(capabilities={})
    assert room.relay(room.call) is None
    assert room.relay(in_session(stream=Stream(hears=False))) is None
    assert room.relay(in_session()) is None

    async def put(call: Redacted) -> Answered:
        return await room.questions.put(call, "roots/list", {})

    assert (travel(put(in_session())).error or {})["code"] == -32601
    assert (travel(put(in_session(stream=Stream(hears=False)))).error or {})["code"] == -32601


@pytest.mark.parametrize("bound", ["MOST", "MOST_OF_SESSION"])
def test_questions_are_bounded(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, bound, 0)
    assert (travel(Room().ask("roots/list", {})).error or {})["code"] == -32603


@pytest.mark.parametrize(
    "id", [1, "", "x", "airlock-", "airlock-x-y", "airlock-\u0661-y", "airlock-1234567-y"]
)
def test_an_id_of_somebody_else_names_no_worker(id: str | int) -> None:
    assert worker_asking(id) is None
