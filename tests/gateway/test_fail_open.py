"""Failing open: only by a grant, only where the engine answers nothing at all, only for what is read-only."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from airlock.core.errors import PolicyFault
from airlock.gateway.authorize import Authorize
from airlock.model.call import Admitted, Routed
from airlock.model.grant import Grant, Grants
from tests.gateway.parts import FakeEngine, HandClock, answered, redact_response, redacted, routed
from tests.gateway.secrets_parts import EMAIL
from tests.gateway.test_record import Desk

GRANT = Grant(
    id="grant-1",
    scope="fail_open",
    incident="INC-20261122-180000",
    proposal="p",
    people=("i|alice", "i|bob"),
    reason="policy is down",
    granted_at=0.0,
    expires_at=HandClock().wall() + 900,
)


class Broken(FakeEngine):
    """An engine that panics; `well` where only the one question is too much for it."""

    def __init__(self, reason: str = "policy_error", *, well: bool = False) -> None:
        def fail(_: dict[str, Any]) -> Any:
            raise PolicyFault(reason, "the engine panicked")

        super().__init__(fail)
        self._well = well

    def trouble(self) -> str:
        return "" if self._well else "the engine panicked"


def call(*grants: Grant, read_only: bool = True) -> Routed:
    of = routed()
    tool = msgspec.structs.replace(of.item, read_only=read_only)
    caller = of.identified.caller
    snapshot = msgspec.structs.replace(caller.snapshot, grants=Grants(held=grants))
    caller = msgspec.structs.replace(caller, snapshot=snapshot)
    whose = msgspec.structs.replace(of.identified, caller=caller)
    return msgspec.structs.replace(of, item=tool, identified=whose)


def stage(engine: FakeEngine | None = None) -> Authorize:
    return Authorize(engine=engine or Broken(), clock=HandClock())


def test_a_read_only_call_passes_by_a_grant_and_says_so() -> None:
    allowed = stage()(Admitted(routed=call(GRANT)))
    assert (allowed.decision.reason, allowed.grant) == ("fail_open", "grant-1")
    assert allowed.facts is None


@pytest.mark.parametrize(
    ("engine", "routed"),
    [
        (Broken(), call()),
        (Broken(), call(GRANT, read_only=False)),
        (Broken(well=True), call(GRANT)),
        (Broken(), call(msgspec.structs.replace(GRANT, expires_at=HandClock().wall()))),
        (Broken(), call(msgspec.structs.replace(GRANT, ended_at=1.0))),
    ],
    ids=["no grant", "a tool that writes", "an engine that is well", "over", "ended"],
)
def test_everything_else_stays_closed(engine: FakeEngine, routed: Routed) -> None:
    with pytest.raises(PolicyFault):
        stage(engine)(Admitted(routed=routed))


def test_a_worker_that_may_not_know_of_the_end_of_a_grant_uses_none() -> None:
    blind = Authorize(engine=Broken(), clock=HandClock(), lapsed=lambda: True)
    with pytest.raises(PolicyFault):
        blind(Admitted(routed=call(GRANT)))


def test_a_call_that_passes_has_an_intent_and_loses_whatever_policy_could_have_demanded() -> None:
    of = redacted(stage()(Admitted(routed=call(GRANT))))
    desk = Desk()
    asyncio.run(desk.record.intend(of))
    assert [(event.phase, event.metadata["grant"]) for event in desk.log.events] == [("intent", "grant-1")]
    reply = redact_response()(of, answered({"content": [{"type": "text", "text": f"at {EMAIL}"}]}))
    assert EMAIL.encode() not in reply.body


def test_an_answer_counts_although_there_is_a_grant() -> None:
    allowed = stage(FakeEngine())(Admitted(routed=call(GRANT)))
    assert (allowed.decision.reason, allowed.grant) != ("fail_open", "grant-1")
    assert not allowed.grant


def test_lists_show_what_could_be_called() -> None:
    shown, hidden = call(GRANT), call(GRANT, read_only=False)
    assert stage().visible(shown.identified, shown.item)
    with pytest.raises(PolicyFault):
        stage().visible(hidden.identified, hidden.item)
