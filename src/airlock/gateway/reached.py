"""A call at any stage, taken apart: what is known of it so far."""

from __future__ import annotations

from airlock.model.call import (
    Admitted,
    Allowed,
    Authenticated,
    Identified,
    Redacted,
    Routed,
)

Governed = Authenticated | Identified | Routed | Admitted | Allowed | Redacted
"""Every stage at which the caller is known."""


Unfolded = tuple[Authenticated, Identified | None, Routed | None, Allowed | None, Redacted | None]
"""The stages up to one; None for those that are still to come."""


def unfold(reached: Governed) -> Unfolded:
    """Every stage up to this one."""
    if isinstance(reached, Redacted):  # the usual one, by the shortest way
        allowed = reached.allowed
        routed = allowed.admitted.routed
        return routed.identified.caller, routed.identified, routed, allowed, reached
    return _unfold(reached)


def _unfold(reached: Governed) -> Unfolded:
    allowed = reached if isinstance(reached, Allowed) else None
    admitted = allowed.admitted if allowed else reached if isinstance(reached, Admitted) else None
    routed = admitted.routed if admitted else reached if isinstance(reached, Routed) else None
    identified = routed.identified if routed else reached if isinstance(reached, Identified) else None
    if identified is not None:
        return identified.caller, identified, routed, allowed, None
    if isinstance(reached, Authenticated):
        return reached, None, None, None, None
    raise TypeError(f"not a stage of a call: {type(reached).__name__}")
