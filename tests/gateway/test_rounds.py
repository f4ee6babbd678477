"""The state of a call of several rounds, sealed."""

from __future__ import annotations

import msgspec
import pytest

from airlock.core.errors import Rejected
from airlock.gateway import rounds
from airlock.gateway.admit import Admit
from airlock.gateway.rounds import Rounds, States
from airlock.mcp.jsonrpc import Request
from airlock.model.call import Routed
from tests.gateway.parts import (
    MODERN_CLIENT,
    HandClock,
    authenticated,
    call_message,
    identified,
    routed,
    sealer,
)
from tests.gateway.parts import principal as parts_principal

BOUND = rounds.bound_to(routed())


def states(clock: HandClock | None = None) -> States:
    return States(sealer=sealer(), clock=clock or HandClock())


def test_the_servers_state_comes_back_byte_for_byte() -> None:
    for inner in ("", 'a "b" \\ \u2028', None):
        text = states().seal(BOUND, number=2, inner=inner)
        assert text.isascii()
        assert "docs" not in text
        state = states().read(text)
        assert state.bound == BOUND
        assert (state.inner, state.number) == (inner, 2)


def other(principal: str = "alice", text: str = "x", tenant: str = "acme") -> Routed:
    caller = authenticated(who=parts_principal(principal, tenant))
    return routed(identified(params=call_message(arguments={"text": text})["params"], caller=caller))


@pytest.mark.parametrize(
    ("moved", "forgotten"),
    [
        (other("bob"), []),
        (other(tenant="other"), []),
        (other(text="y"), ["n1.p"]),
        (other("bob", "y"), []),
    ],
)
def test_a_state_counts_for_its_own_call_only(moved: Routed, forgotten: list[str]) -> None:
    of, ended = Rounds(states()), list[str]()
    of.forget = ended.append
    text = states().seal(BOUND, number=1, park="n1.p")
    told = {**moved.identified.message.params, "requestState": text}
    again = msgspec.structs.replace(
        moved,
        identified=msgspec.structs.replace(
            moved.identified, message=Request(1, "tools/call", told), client=MODERN_CLIENT
        ),
    )
    with pytest.raises(Rejected) as refused:
        of.admitting(Admit())(again)
    assert (refused.value.http, refused.value.code) == (200, -32602)
    assert refused.value.reason == "request_state_invalid"
    assert ended == forgotten
    with pytest.raises(Rejected):
        Rounds(states()).admitting(Admit())(again)


def test_a_state_that_is_changed_anywhere_is_refused() -> None:
    text = states().seal(BOUND, number=1, inner="s")
    for place in range(len(text)):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(Rejected):
            states().read(changed)


def test_what_was_sealed_for_something_else_is_no_state() -> None:
    for text in ("", "made up", sealer().seal("session", b"{}"), sealer().seal("request-state", b"{}")):
        with pytest.raises(Rejected):
            states().read(text)


def test_a_state_lasts_ten_minutes() -> None:
    clock = HandClock()
    text = states(clock).seal(BOUND, number=1)
    clock.seconds += rounds.LIFETIME - 1
    states(clock).read(text)
    clock.seconds += 1
    with pytest.raises(Rejected):
        states(clock).read(text)


def test_a_call_is_the_same_on_every_route() -> None:
    direct = authenticated(server="docs")
    assert rounds.bound_to(routed(identified(params=call_message("echo")["params"], caller=direct))) == BOUND
