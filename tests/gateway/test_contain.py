"""Whoever and whatever is contained is refused at admission, in words that say what and until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Effect, Fault, Refused, Stage
from airlock.gateway.contain import Contain
from airlock.gateway.serving import Serving
from airlock.model.call import Identified, Routed
from airlock.model.containment import compiled
from airlock.model.lease import Action, Lease, read_selector
from airlock.model.server import Item
from airlock.model.snapshot import Snapshot
from tests.gateway.parts import (
    NOW,
    HandClock,
    authenticated,
    identified,
    registered,
    routed,
    snapshot,
)

ENDS = NOW + 60


def lease(action: Action, *, incident: str = "", **pairs: str) -> Lease:
    return Lease(
        id=f"lease {action}",
        action=action,
        selector=read_selector(action, pairs),
        state="active",
        reason="test",
        actor="ops",
        origin="api",
        incident=incident,
        created_at=NOW,
        expires_at=ENDS,
        max_until=None,
        epoch=3,
    )


def under(*leases: Lease) -> Snapshot:
    return msgspec.structs.replace(snapshot(registered()), leases=compiled(leases, epoch=3))


def asking(*leases: Lease) -> Identified:
    return identified(caller=authenticated(at=under(*leases)))


def calling(*leases: Lease) -> Routed:
    return routed(asking(*leases))


def always(answer: bool) -> Callable[[Identified, Item], bool]:
    """Policy that shows everything, or nothing."""

    def visible(who: Identified, tool: Item) -> bool:
        return answer

    return visible


class Checks:
    """The checks of one worker, and its clock."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.serving = Serving()
        self.contain = Contain(clock=self.clock, serving=self.serving)


CALLERS: dict[str, tuple[Lease, dict[str, str]]] = {
    "address": (lease("ip.block", cidr="192.0.2.0/24"), {"kind": "address"}),
    "tenant": (lease("tenant.isolate", tenant="acme"), {"kind": "tenant"}),
    "principal": (lease("subject.suspend", subject="alice", tenant="acme"), {"kind": "principal"}),
}

TOOLS: dict[str, tuple[Lease, dict[str, str]]] = {
    "server": (lease("server.disable", server="docs"), {"kind": "server", "server": "docs"}),
    "tool": (
        lease("tool.quarantine", server="docs", tool="echo"),
        {"kind": "tool", "server": "docs", "name": "echo"},
    ),
}

OTHERS = (
    lease("ip.block", cidr="198.51.100.0/24"),
    lease("tenant.isolate", tenant="other"),
    lease("subject.suspend", subject="bob"),
    lease("server.disable", server="files"),
    lease("tool.quarantine", server="docs", tool="read"),
    lease("ratelimit.tighten", per_token="1/s"),
)


@pytest.mark.parametrize("kind", CALLERS)
def test_a_contained_caller_is_refused_whatever_it_asks(kind: str) -> None:
    held, scope = CALLERS[kind]
    with pytest.raises(Refused) as refused:
        Checks().contain.caller(asking(held))
    told = refused.value
    assert (told.stage, told.code, told.reason, told.effect) == (
        Stage.ADMIT,
        40302,
        "contained",
        Effect.NONE,
    )
    assert (told.scope, told.lease) == (scope, held.id)


@pytest.mark.parametrize("kind", TOOLS)
def test_a_contained_tool_is_not_called(kind: str) -> None:
    held, scope = TOOLS[kind]
    Checks().contain.caller(asking(held))
    with pytest.raises(Refused) as refused:
        Checks().contain.call(calling(held))
    assert (refused.value.code, refused.value.scope) == (40302, scope)


@pytest.mark.parametrize("kind", ["tenant", "principal", "server", "tool"])
def test_a_refusal_says_until_when(kind: str) -> None:
    held, _ = {**CALLERS, **TOOLS}[kind]
    with pytest.raises(Refused) as refused:
        Checks().contain.caller(asking(held))
        Checks().contain.call(calling(held))
    assert refused.value.expires_at == ENDS


def test_a_blocked_address_does_not_learn_until_when() -> None:
    with pytest.raises(Refused) as refused:
        Checks().contain.caller(asking(CALLERS["address"][0]))
    assert refused.value.expires_at is None


def test_leases_about_others_change_nothing() -> None:
    checks = Checks()
    checks.contain.caller(asking(*OTHERS))
    checks.contain.call(calling(*OTHERS))


def test_without_leases_everything_passes() -> None:
    checks = Checks()
    checks.contain.caller(identified())
    checks.contain.call(routed())


@pytest.mark.parametrize("held", [held for held, _ in (*CALLERS.values(), *TOOLS.values())])
def test_a_lease_that_is_over_refuses_nothing(held: Lease) -> None:
    checks = Checks()
    checks.clock.seconds += 60
    checks.contain.caller(asking(held))
    checks.contain.call(calling(held))


@pytest.mark.parametrize(
    ("pairs", "incident"),
    [({"subject": "alice", "tenant": "acme"}, "INC-7"), ({"subject": "alice"}, "")],
)
def test_the_incident_is_told_where_the_lease_is_about_the_callers_tenant(
    pairs: dict[str, str], incident: str
) -> None:
    with pytest.raises(Refused) as refused:
        Checks().contain.caller(asking(lease("subject.suspend", incident="INC-7", **pairs)))
    assert refused.value.incident == incident


@pytest.mark.parametrize(
    ("action", "pairs"),
    [("tool.quarantine", {"server": "docs", "tool": "echo"}), ("server.disable", {"server": "docs"})],
)
def test_the_incident_of_a_tool_is_told_to_whoever_can_see_the_tool(
    action: Action, pairs: dict[str, str]
) -> None:
    with pytest.raises(Refused) as refused:
        Checks().contain.call(calling(lease(action, incident="INC-7", **pairs)))
    assert refused.value.incident == "INC-7"


@pytest.mark.parametrize(("kind", "shown"), [("server", False), ("tool", False), ("address", True)])
def test_what_is_contained_is_in_no_list(kind: str, shown: bool) -> None:
    held, _ = {**CALLERS, **TOOLS}[kind]
    seen = Checks().contain.visible(always(True))
    assert seen(asking(held), calling(held).item) is shown


@pytest.mark.parametrize("policy", [True, False])
def test_what_is_not_contained_is_shown_as_policy_says(policy: bool) -> None:
    seen = Checks().contain.visible(always(policy))
    assert seen(asking(), calling().item) is policy
    assert seen(asking(*OTHERS), calling().item) is policy


@pytest.mark.parametrize(("sensitivity", "served"), [("low", True), ("medium", False), ("critical", False)])
def test_a_worker_that_cannot_see_leases_serves_no_sensitive_tool(sensitivity: Any, served: bool) -> None:
    checks = Checks()
    checks.serving.lapsed = True
    checks.contain.caller(identified())
    of = routed(identified(caller=authenticated(at=snapshot(registered(sensitivity=sensitivity)))))
    if served:
        checks.contain.call(of)
        return
    with pytest.raises(Fault) as fault:
        checks.contain.call(of)
    assert (fault.value.code, fault.value.reason, fault.value.effect) == (
        50302,
        "control_unavailable",
        Effect.NONE,
    )


def test_a_worker_that_was_blind_for_long_serves_nobody() -> None:
    checks = Checks()
    checks.serving.lapsed = checks.serving.dark = True
    with pytest.raises(Fault) as fault:
        checks.contain.caller(identified())
    assert fault.value.retry_after == 5
