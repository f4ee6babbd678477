"""Who may do what at the management API without the role `admin`: policy says so, action by action.

Most policies were written for calls of tools and look at roles and targets alone. So that none of them opens
the management API by accident, the answer counts only where the same policy refuses an administrative action
that does not exist: it must have looked at the name of the action.
"""

from __future__ import annotations

from collections.abc import Callable

from airlock.api.door import Allowed
from airlock.api.entries import Permission
from airlock.core.clock import Clock
from airlock.gateway.authorize import Engine
from airlock.model.call import Authenticated
from airlock.model.decision import TargetInput
from airlock.policy import input as questions

CONTROL = "admin:control.question"
"""An action that nothing has."""

TARGET = TargetInput(
    kind="admin",
    server="",
    name="",
    uri="",
    tenant="",
    sensitivity="critical",
    read_only=False,
    definition_digest="",
    approved=True,
    tags=(),
    owner="",
)
"""What every permission is about: the gateway."""


def permissions(*, engine: Callable[[], Engine], clock: Clock) -> Allowed:
    """Asks the engine of the moment. What it answers raises `PolicyFault` where it cannot decide."""

    def may(caller: Authenticated, action: str) -> bool:
        question = questions.build(
            phase="call",
            action=action,
            principal=caller.principal,
            target=TARGET,
            arguments={},
            source_ip=caller.inbound.source_ip,
            era="",
            route=caller.inbound.route,
            now=clock.wall(),
        )
        decision = engine().decide(questions.encode(question))
        return decision.allow is True and decision.approval is None

    def allowed(caller: Authenticated, permission: Permission) -> bool:
        return may(caller, f"admin:{permission}") and not may(caller, CONTROL)

    return allowed
