"""A verification: what checks of the gateway found, written down on the timeline of an incident. Pure.

Whoever ran a check reports it; it counts as passed only where its exit code is 0 and it tried everything.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from airlock.incident.keeping import alive, said
from airlock.incident.occasion import Occasion
from airlock.incident.orders import Order
from airlock.incident.settling import settle
from airlock.model.incident import Decided, Incident, IncidentEvent
from airlock.model.lease import Unfit

Name = Literal["live", "ready", "metrics", "e2e", "performance", "security"]
CHECKS: tuple[Name, ...] = get_args(Name)
"""What a whole verification consists of."""

MOST_SEEN = 100
"""Parts of one check."""

SHOWN = 300
"""Characters of what one part observed that are kept."""


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One part of a check; `observed` is what was seen, or why nothing could be."""

    check: str
    result: Literal["ok", "fail", "untried"]
    observed: str = ""


class Ran(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check that ran. `exit`: 0 everything was true, 1 something was not, 2 it could not run, 3 something
    could not be tried."""

    check: Name
    exit: int
    seen: tuple[Seen, ...] = ()
    digest: str = ""
    """SHA-256 of its whole output."""

    @property
    def passed(self) -> bool:
        return self.exit == 0 and all(each.result == "ok" for each in self.seen)


class Verify(Order, frozen=True, kw_only=True):
    """What checks found."""

    runs: tuple[Ran, ...]


def verified(incident: Incident, order: Verify, occasion: Occasion) -> Decided:
    """One event for each check. Raises `GuardFailed` once the incident has ended, `Unfit`
    `verification_invalid` for no check, one that is there twice, or too many parts."""
    alive("verify", incident)
    names = [run.check for run in order.runs]
    if not names or len(set(names)) < len(names):
        raise Unfit("verification_invalid", f"Name each check once: some of {', '.join(CHECKS)}.")
    if any(len(run.seen) > MOST_SEEN for run in order.runs):
        raise Unfit("verification_invalid", f"A check has {MOST_SEEN} parts at most.")
    events = tuple(_event(run, occasion) for run in order.runs)
    return settle(incident, incident, events, occasion.now)


def _event(run: Ran, occasion: Occasion) -> IncidentEvent:
    wrong = ", ".join(each.check[:SHOWN] for each in run.seen if each.result != "ok")
    told = "green" if run.passed else "not green" + (f": {wrong}" if wrong else f", it ended with {run.exit}")
    event = said(
        "verification_run",
        occasion,
        f"Verification {run.check}: {told}"[: 10 * SHOWN],
        check=run.check,
        passed=run.passed,
        exit=run.exit,
        digest=run.digest[:64],
        seen=[{**msgspec.to_builtins(each), "observed": each.observed[:SHOWN]} for each in run.seen],
    )
    by_hand = occasion.actor.type == "human"
    return msgspec.structs.replace(event, csf="RC", basis="reported" if by_hand else "observed")
