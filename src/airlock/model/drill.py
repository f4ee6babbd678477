"""Drills: a rule or a playbook that is tried in a shadow of the gateway, and what came of it."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["rule", "playbook"]
State = Literal["requested", "passed", "failed", "pending"]
"""`pending`: nothing of it can be tried here."""

Result = Literal["done", "failed", "not drilled"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a drill, and what came of it."""

    name: str
    result: Result
    detail: str = ""


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """One drill. Times are Unix seconds."""

    id: str
    subject: str
    """Id of a rule or of a playbook."""
    kind: Kind
    by: str
    asked_at: float
    state: State = "requested"
    ended_at: float | None = None
    detect: float | None = None
    """Seconds of the attack, from its first row, until the rule found it."""
    contain: float | None = None
    """Seconds of work from the finding until the store held what contains it."""
    evidence: float | None = None
    """Seconds of work until the bundle was collected and verified."""
    steps: tuple[Step, ...] = ()
    problem: str = ""
    """Why it failed, or is pending."""

    @property
    def over(self) -> bool:
        return self.state != "requested"
