"""Stage 3, before anything else of a call: is the login behind the token recent and strong enough (RFC 9470)?

What an issuer does not say counts as not being so. The challenge names everything that the server asks for.
"""

from __future__ import annotations

from collections.abc import Callable

from airlock.core.clock import Clock
from airlock.core.config import StepUp
from airlock.identity.refusals import too_weak
from airlock.model.call import Routed
from airlock.model.principal import Principal


def step_up(clock: Clock) -> Callable[[Routed], None]:
    """A check of `Admit`. Raises `Unauthenticated` (401) naming age and contexts."""

    def check(routed: Routed) -> None:
        needed = routed.server.entry.step_up
        if needed is not None and not _suffices(routed.identified.caller.principal, needed, clock.wall()):
            raise too_weak(needed.acr, int(needed.max_age))

    return check


def _suffices(principal: Principal, needed: StepUp, now: float) -> bool:
    if needed.acr and principal.acr not in needed.acr:
        return False
    if not needed.max_age:
        return True
    return principal.auth_time is not None and now - principal.auth_time <= needed.max_age
