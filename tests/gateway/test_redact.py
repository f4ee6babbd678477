"""Obligations are met or the call is refused; what comes back takes the client's shape or is not passed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Fault, UpstreamFault
from airlock.gateway.cap import MAX_RESULT
from airlock.model.decision import Obligations
from airlock.model.upstream import UpstreamAnswer
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN_CLIENT,
    allowed,
    answered,
    call_message,
    identified,
    redact_request,
    redact_response,
    redacted,
    routed,
)


def of_client(modern: bool, **decision: Any) -> Any:
    client = MODERN_CLIENT if modern else LEGACY_CLIENT
    return redacted(allowed(routed(identified(client=client)), **decision))


def told(call: Any, answer: UpstreamAnswer) -> Any:
    return msgspec.json.decode(redact_response()(call, answer).body)


def test_what_is_sent_is_what_was_judged_in_canonical_form() -> None:
    params = call_message(arguments={"text": "ä", "n": 1})["params"]
    call = redacted(allowed(routed(identified(params=params))))
    assert call.request.params == {"name": "echo", "arguments": {"text": "ä", "n": 1}}
    assert call.arguments == '{"n":1,"text":"ä"}'.encode()
    assert call.request.deadline == 1000.0 + 300.0


def test_a_progress_token_is_replaced_by_one_of_ours() -> None:
    params = call_message(_meta={"progressToken": "mine", "secret": 1})["params"]
    assert redact_request()(allowed(routed(identified(params=params)))).request.params["_meta"] == {
        "progressToken": "p1"
    }


@pytest.mark.parametrize("meta", [{}, {"other": 1}])
def test_nothing_else_of_the_clients_meta_travels(meta: dict[str, Any]) -> None:
    params = call_message(_meta=meta)["params"]
    assert "_meta" not in redacted(allowed(routed(identified(params=params)))).request.params


def test_a_modern_client_gets_the_modern_shape() -> None:
    result = told(of_client(True), answered({"content": []}))["result"]
    assert result["resultType"] == "complete"
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "airlock"


def test_a_legacy_client_gets_the_legacy_shape() -> None:
    result = told(of_client(False), answered({"content": [], "resultType": "complete", "ttlMs": 5}))["result"]
    assert result == {"content": []}


def test_an_error_of_the_server_keeps_its_words() -> None:
    reply = redact_response()(of_client(True), answered(error={"code": 7, "message": "m", "data": {"x": 1}}))
    assert msgspec.json.decode(reply.body)["error"] == {"code": 7, "message": "m", "data": {"x": 1}}
    assert reply.is_error


def test_an_error_result_of_the_tool_is_noted() -> None:
    assert redact_response()(of_client(True), answered({"content": [], "isError": True})).is_error


@pytest.mark.parametrize("answer", [answered(), answered({"resultType": "input_required"})])
def test_an_answer_that_is_none_is_a_breach(answer: UpstreamAnswer) -> None:
    with pytest.raises(UpstreamFault) as fault:
        redact_response()(of_client(True), answer)
    assert (fault.value.code, fault.value.effect) == (50201, Effect.POSSIBLE)


@pytest.mark.parametrize("limit", [100, None])
def test_a_result_over_the_limit_is_not_passed_on(limit: int | None) -> None:
    call = of_client(False, obligations=Obligations(max_result_bytes=limit))
    text = "x" * (limit or MAX_RESULT)
    with pytest.raises(Fault) as fault:
        redact_response()(call, answered({"content": [{"type": "text", "text": text}]}))
    assert (fault.value.code, fault.value.effect) == (50001, Effect.POSSIBLE)


def test_policy_cannot_raise_the_limit() -> None:
    call = of_client(False, obligations=Obligations(max_result_bytes=MAX_RESULT * 2))
    with pytest.raises(Fault):
        redact_response()(call, answered({"content": [{"type": "text", "text": "x" * MAX_RESULT}]}))


@pytest.mark.parametrize(
    "answer",
    [answered({"content": []}), answered(error={"code": 7, "message": "m"})],
    ids=["a result", "an error"],
)
def test_a_limit_of_nothing_lets_nothing_through(answer: UpstreamAnswer) -> None:
    with pytest.raises(Fault) as fault:
        redact_response()(of_client(False, obligations=Obligations(max_result_bytes=0)), answer)
    assert (fault.value.code, fault.value.effect) == (50001, Effect.POSSIBLE)


def test_the_limit_holds_for_what_a_server_says_in_an_error_too() -> None:
    call = of_client(False, obligations=Obligations(max_result_bytes=100))
    with pytest.raises(Fault):
        redact_response()(call, answered(error={"code": 7, "message": "m", "data": "x" * 100}))


def test_a_result_at_the_limit_is_passed_on() -> None:
    answer = answered({"content": []})
    size = len(redact_response()(of_client(False), answer).body)
    exactly = of_client(False, obligations=Obligations(max_result_bytes=size))
    assert len(redact_response()(exactly, answer).body) == size
