"""Who comes in without the role `admin`: whom policy allows just that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airlock.api.entries import PERMISSIONS, Permission
from airlock.app.permissions import CONTROL, permissions
from airlock.core.errors import PolicyFault
from airlock.model.decision import Approval, Decision
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from airlock.policy.bundle import load_bundle
from airlock.policy.embedded import EmbeddedEngine
from tests.api.doors import Turned, ask, caller, door, request, told
from tests.gateway.parts import FakeEngine, HandClock, principal

RESPONDER = caller(principal("rita", roles=("responder",)), request("GET", "/api/v1/incidents"))


def allowed(answer: Callable[[dict[str, Any]], Any], permission: Permission = "incidents.read") -> bool:
    engine = FakeEngine(answer)
    return permissions(engine=lambda: engine, clock=HandClock())(RESPONDER, permission)


def test_policy_is_asked_about_the_permission_of_the_verified_caller() -> None:
    engine = FakeEngine(lambda asked: Decision(allow=asked["action"] == "admin:incidents.read", reason="x"))
    may = permissions(engine=lambda: engine, clock=HandClock())
    assert may(RESPONDER, "incidents.read") is True
    assert may(RESPONDER, "leases.write") is False
    asked = engine.asked[0]
    assert (asked["subject"]["id"], asked["action"]) == ("rita", "admin:incidents.read")
    assert (asked["target"]["kind"], asked["target"]["sensitivity"]) == ("admin", "critical")
    assert asked["target"]["read_only"] is False


def test_a_family_of_permissions_may_be_allowed() -> None:
    def family(asked: dict[str, Any]) -> Decision:
        return Decision(allow=asked["action"].startswith("admin:incidents."), reason="x")

    assert allowed(family, "incidents.write") is True
    assert allowed(family, "leases.write") is False


def test_a_policy_that_does_not_look_at_the_action_opens_nothing() -> None:
    """It was written for calls of tools."""
    assert allowed(lambda _: Decision(allow=True, reason="everybody")) is False
    assert allowed(lambda asked: Decision(allow=asked["action"].startswith("admin:"), reason="x")) is False


def test_what_waits_for_an_approval_is_no_yes() -> None:
    def waiting(asked: dict[str, Any]) -> Decision:
        return Decision(allow=asked["action"] != CONTROL, reason="x", approval=Approval(by=("admin",)))

    assert allowed(waiting) is False


def test_a_policy_that_cannot_decide_says_so() -> None:
    def broken(_: dict[str, Any]) -> Decision:
        raise PolicyFault("policy_error", "no")

    with pytest.raises(PolicyFault):
        allowed(broken)


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_the_starter_policy_opens_nothing_to_others(permission: Permission) -> None:
    engine = EmbeddedEngine(load_bundle(None))
    may = permissions(engine=lambda: engine, clock=HandClock())
    for roles in ((), ("viewer",), ("developer",)):
        assert may(caller(principal(roles=roles), request()), permission) is False


async def read(asked: HttpRequest, who: Principal) -> HttpResponse:
    return json_response(200, {"by": who.subject})


def test_whom_policy_allows_comes_in_and_is_not_turned_away() -> None:
    turned = Turned()
    guard = door(
        RESPONDER.principal, turned=turned, allowed=lambda _, permission: permission == "gateway.read"
    )
    assert told(ask(read, request(), guard)) == (200, {"by": "rita"})
    assert turned.seen == []


def test_whom_policy_does_not_allow_is_told_what_it_takes() -> None:
    turned = Turned()
    guard = door(RESPONDER.principal, turned=turned, allowed=lambda _, permission: False)
    response = ask(read, request(), guard)
    assert told(response) == (403, "admin_role_required")
    assert b"admin:gateway.read" in response.body
    assert turned.seen == [("rita", "admin_role_required")]


def broken(*_: object) -> bool:
    raise PolicyFault("policy_error", "the engine is down")


def test_an_administrator_comes_in_while_policy_cannot_decide() -> None:
    """Who has to stop an attack must get in when the policy engine is what fails."""
    assert ask(read, request(), door(allowed=broken)).status == 200
    assert told(ask(read, request(), door(RESPONDER.principal, allowed=broken))) == (503, "policy_error")
