"""Policy decides, and whatever is not a clear yes is a no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import Fault, PolicyFault, Refused, Rejected, Stage
from airlock.edge.problems import Problems
from airlock.gateway.admit import Admit
from airlock.gateway.authorize import Authorize
from airlock.gateway.resolve import resolve
from airlock.model.call import Admitted, Identified, Reached, Reply
from airlock.model.decision import Approval, Decision
from airlock.model.server import PinState
from airlock.policy.bundle import load_bundle
from airlock.policy.embedded import EmbeddedEngine
from tests.gateway.parts import (
    PUBLIC,
    REVISION,
    FakeEngine,
    HandClock,
    Lines,
    allowed,
    authenticated,
    call_message,
    definition,
    identified,
    no,
    principal,
    redacted,
    registered,
    routed,
    snapshot,
)


def authorize(answer: Callable[[dict[str, Any]], Any] | None = None) -> Authorize:
    return Authorize(engine=FakeEngine(answer), clock=HandClock())


def test_a_yes_is_kept_with_the_question_it_answers() -> None:
    stage = authorize()
    found = stage(Admitted(routed=routed()))
    assert found.decision.revision == REVISION
    assert b'"phase":"call"' in found.question
    assert b'"arguments":{"text":"x"}' in found.question


def test_the_question_names_the_verified_caller_and_the_approved_tool() -> None:
    engine = FakeEngine()
    of = routed(identified(caller=authenticated(who=principal("alice", roles=("viewer",)))))
    Authorize(engine=engine, clock=HandClock())(Admitted(routed=of))
    asked = engine.asked[0]
    assert (asked["subject"]["id"], asked["subject"]["roles"]) == ("alice", ["viewer"])
    assert (asked["target"]["server"], asked["target"]["name"]) == ("docs", "echo")
    assert asked["target"]["definition_digest"] == of.item.digest


def test_a_no_says_policys_own_word() -> None:
    with pytest.raises(Refused) as error:
        authorize(no)(Admitted(routed=routed()))
    assert (error.value.code, error.value.policy_reason) == (40301, "not_today")
    assert error.value.scope == {"kind": "tool", "server": "docs", "name": "echo"}


def test_a_yes_that_needs_a_person_is_a_no_for_now() -> None:
    waiting = Decision(allow=True, reason="high_risk", approval=Approval(by=("admin",)))
    with pytest.raises(Refused) as error:
        authorize(lambda _: waiting)(Admitted(routed=routed()))
    assert (error.value.code, error.value.policy_reason) == (40303, "high_risk")


@pytest.mark.parametrize("truthy", ["true", "no", 1, [False]])
def test_only_true_is_a_yes(truthy: Any) -> None:
    stage = authorize(lambda _: Decision(allow=truthy, reason="x"))
    with pytest.raises(Refused):
        stage(Admitted(routed=routed()))
    assert stage.visible(identified(), routed().item) is False


REFUSED = Refused(Stage.AUTHORIZE, 40301, "policy_denied", "No.")


@pytest.mark.parametrize("reached", [routed(), Admitted(routed=routed())], ids=["routed", "admitted"])
def test_a_refusal_of_a_hidden_tool_is_an_unknown_tool(reached: Reached) -> None:
    with pytest.raises(Rejected) as error:
        authorize(no).conceal(reached, REFUSED)
    assert error.value.text == "Unknown tool: docs__echo"
    assert error.value.__cause__ is REFUSED


@pytest.mark.parametrize(
    ("reached", "failure"),
    [
        (identified(), REFUSED),
        (routed(), Fault(Stage.FORWARD, 50201, "x", "x")),
        (allowed(), REFUSED),
        (redacted(), REFUSED),
    ],
    ids=["not resolved", "a fault", "allowed", "redacted"],
)
def test_nothing_else_is_concealed(reached: Reached, failure: Refused | Fault) -> None:
    authorize(no).conceal(reached, failure)


def test_a_refusal_of_a_visible_tool_is_not_concealed() -> None:
    authorize().conceal(routed(), REFUSED)


def test_where_policy_cannot_say_nothing_is_said() -> None:
    def fails(_: dict[str, Any]) -> Decision:
        raise PolicyFault("policy_error", "x")

    with pytest.raises(PolicyFault):
        authorize(fails).conceal(routed(), REFUSED)


STARTER = load_bundle(None)
ROLES: list[tuple[str, ...]] = [(), ("viewer",), ("developer",), ("admin",), ("guest",)]
DEFINITIONS = (definition("echo"), definition("changed"), definition("unfit", inputSchema=True))
PINS: dict[str, PinState] = {"echo": "pinned", "changed": "changed", "unfit": "pinned"}


def heard(stage: Authorize, of: Identified) -> Reply:
    """What a caller gets for a call that stops before it is sent."""
    problems = Problems(public_url=PUBLIC, conceal=stage.conceal, clock=HandClock(), log=Lines())
    reached: Reached = of
    try:
        reached = found = resolve(of)
        reached = admitted = Admit()(found)
        stage(admitted)
    except (Refused, Fault) as failure:
        return problems.explain(reached, failure)
    return Reply(body=b"allowed")


@settings(max_examples=100, deadline=None)
@given(
    roles=st.sampled_from(ROLES),
    sensitivity=st.sampled_from(["low", "medium", "high", "critical"]),
    read_only=st.booleans(),
    tenant=st.sampled_from(["", "acme", "globex"]),
    tool=st.sampled_from(sorted(PINS)),
    arguments=st.sampled_from([{"text": "x"}, {"text": 5}, {"Text": "x"}]),
    route=st.sampled_from(["", "docs"]),
)
def test_what_the_list_hides_by_policy_is_called_like_what_does_not_exist(
    roles: tuple[str, ...], tool: str, arguments: dict[str, Any], route: str, **server: Any
) -> None:
    """Whatever else would be wrong with the call: its definition, its arguments or their spelling."""
    at = snapshot(registered("docs", *DEFINITIONS, pins=PINS, **server))
    caller = authenticated(who=principal(roles=roles), at=at, server=route)
    stage = Authorize(engine=EmbeddedEngine(STARTER), clock=HandClock())
    catalog = at.registry.servers["docs"].catalog
    assert catalog is not None
    if stage.visible(identified("tools/list", {}, caller=caller), catalog.tools[tool]):
        return

    def called(name: str) -> Reply:
        params = call_message(name if route else f"docs__{name}", arguments)["params"]
        return heard(stage, identified(params=params, caller=caller))

    hidden, nothing = called(tool), called("nothing")
    assert hidden.body == nothing.body.replace(b"nothing", tool.encode())
    assert (hidden.status, hidden.headers) == (nothing.status, nothing.headers)
