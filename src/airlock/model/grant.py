"""Grants: what two people loosened for minutes. The part `grants` of a snapshot holds those in force.

A grant counts while it is in force by the clock, whoever sleeps; it is never extended. A lease always beats a
grant, and a grant covers nothing but what its scope says: with `fail_open`, calls of tools that an operator
approved as read-only, while the policy engine answers nothing at all.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from airlock.model.server import Item

FAIL_OPEN = "fail_open"
"""The reason of a call that a grant let through, as its rows have it."""

LONGEST = 900.0
"""Seconds of a grant."""

Scope = Literal["fail_open"]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One grant. Times are Unix seconds."""

    id: str
    scope: Scope
    tools: Literal["read-only"] = "read-only"
    incident: str
    proposal: str
    people: tuple[str, ...]
    """Who agreed, as `issuer|subject`."""
    reason: str
    granted_at: float
    expires_at: float
    ended_at: float | None = None
    ended_by: str = ""
    end_reason: str = ""
    counted_at: float | None = None
    """When every call that passed by it was noted; None: there may be more."""

    def holds(self, now: float) -> bool:
        """Whether it is in force at this time."""
        return self.ended_at is None and self.granted_at <= now < self.expires_at


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """The grants of one epoch."""

    held: tuple[Grant, ...] = ()
    epoch: int = 0

    def covers(self, tool: Item, now: float) -> Grant | None:
        """The grant by which a call to this tool may pass while policy answers nothing; None: none."""
        if not self.held or not tool.read_only or tool.pin != "pinned":
            return None
        return next((grant for grant in self.held if grant.scope == "fail_open" and grant.holds(now)), None)


DebtState = Literal["open", "upheld", "violation", "waived"]


class Debt(msgspec.Struct, frozen=True, kw_only=True):
    """One call that a grant let through, and what policy says of it afterwards."""

    id: str
    """Of the first of its audit rows."""
    grant: str
    incident: str
    state: DebtState
    at: str
    """When the call was, as its row says."""
    tenant: str = ""
    subject: str = ""
    resource: str = ""
    why: str = ""
    """The reason of the decision; for an open one, why nobody can tell."""
    waivers: tuple[str, ...] = ()
    """Who waived it; two people do."""
