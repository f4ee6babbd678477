"""A legacy server that sends a person to an address first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.core.errors import Rejected
from airlock.gateway import addresses
from airlock.model.call import Redacted
from airlock.model.upstream import UpstreamAnswer
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN_CLIENT,
    allowed,
    answered,
    identified,
    redact_request,
    routed,
)

URL: dict[str, Any] = {
    "mode": "url",
    "message": "Log in first:",
    "url": "https://login.example/",
    "elicitationId": "e1",
}
CAN: dict[str, Any] = {"elicitation": {"url": {}}}


def call(version: str, capabilities: dict[str, Any] | None = None, method: str = "tools/call") -> Redacted:
    of = MODERN_CLIENT if version == MODERN_CLIENT.version else LEGACY_CLIENT
    client = msgspec.structs.replace(of, version=version, capabilities=capabilities or {})
    made = redact_request()(allowed(routed(identified(client=client))))
    return msgspec.structs.replace(made, request=msgspec.structs.replace(made.request, method=method))


def sent(*elicitations: Any, era: str = "2025-11-25") -> UpstreamAnswer:
    error = {"code": -32042, "message": "first", "data": {"elicitations": list(elicitations)}}
    return UpstreamAnswer(error=error, size=9, era=era)


def test_a_modern_client_is_asked() -> None:
    answer = addresses.told(call("2026-07-28", CAN), sent(URL))
    params = {key: value for key, value in URL.items() if key != "elicitationId"}
    assert answer.result == {
        "resultType": "input_required",
        "inputRequests": {"url_1": {"method": "elicitation/create", "params": params}},
    }
    assert answer.era == "2026-07-28"


def test_a_modern_client_that_cannot_be_asked_is_told_what_is_missing() -> None:
    with pytest.raises(Rejected) as refused:
        addresses.told(call("2026-07-28", {"elicitation": {}}), sent(URL))
    assert (refused.value.http, refused.value.code) == (400, -32021)
    assert refused.value.data == {"requiredCapabilities": {"elicitation": {"url": {}}}}


def test_a_client_that_knows_no_such_error_reads_the_address() -> None:
    answer = addresses.told(call("2025-06-18"), sent(URL, URL))
    text = "Log in first: https://login.example/"
    assert answer.result == {"content": [{"type": "text", "text": f"{text}\n{text}"}], "isError": True}


@pytest.mark.parametrize(
    ("of", "answer"),
    [
        (call("2025-11-25", CAN), sent(URL)),
        (call("2026-07-28", CAN), sent(URL, era="2026-07-28")),
        (call("2026-07-28", CAN), answered({})),
        (call("2026-07-28", CAN), answered(error={"code": 7, "message": "no"})),
        (call("2026-07-28", CAN), sent()),
        (call("2026-07-28", CAN), sent(1)),
        (call("2026-07-28", CAN), sent({**URL, "url": 1})),
        (call("2026-07-28", CAN), sent({"message": "x", "requestedSchema": {"properties": {}}})),
        (call("2026-07-28", CAN), sent(*[URL] * 17)),
        (call("2026-07-28", CAN, "completion/complete"), sent(URL)),
        (call("2025-06-18", method="prompts/get"), sent(URL)),
        (
            call("2025-06-18"),
            UpstreamAnswer(error={"code": -32042, "message": "x", "data": 1}, size=1, era="2025-11-25"),
        ),
    ],
)
def test_anything_else_is_passed_on_as_it_is(of: Redacted, answer: UpstreamAnswer) -> None:
    assert addresses.told(of, answer) is answer
