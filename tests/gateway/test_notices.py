"""Which notifications of a server reach the client of its call."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.gateway.notices import everything, hearing
from airlock.model.call import Redacted
from tests.gateway.session_parts import in_session

MESSAGE = "notifications/message"
Heard = list[tuple[str, dict[str, Any]]]


def told(call: Redacted, *params: dict[str, Any], kept_back: bool = False, passing: bool = True) -> Heard:
    heard: Heard = []

    def logged(of: Redacted, said: dict[str, Any]) -> dict[str, Any] | None:
        return None if kept_back else everything(of, said)

    tell = hearing(
        call,
        lambda method, said: heard.append((method, said)),
        clean=lambda _: dict,
        logged=logged,
        passing=lambda: passing,
    )
    if tell is None:
        return heard
    for each in params:
        tell(MESSAGE, each)
        tell("notifications/other", each)
    return heard


@pytest.mark.parametrize(("wanted", "levels"), [("", ["debug", "error"]), ("warning", ["error"])])
def test_a_session_hears_messages_of_the_level_that_it_wants(wanted: str, levels: list[str]) -> None:
    call = in_session(log_level=wanted)
    said = [{"level": "debug"}, {"level": "error"}, {"level": "loud"}, {}]
    assert told(call, *said) == [(MESSAGE, {"level": level}) for level in levels]


def test_who_is_in_no_session_hears_none() -> None:
    assert told(in_session(""), {"level": "error"}) == []


def test_what_may_not_leave_is_kept_back() -> None:
    call = in_session()
    assert told(call, {"level": "error"}, kept_back=True) == []
    assert told(call, {"level": "error"}, passing=False) == []
    assert told(call, {"level": "error", "data": "x" * 20_000}) == []
