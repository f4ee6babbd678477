"""A proposal as answers have it."""

from __future__ import annotations

from typing import Any

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident import approval
from airlock.model.proposal import Proposal


def shown(proposal: Proposal, now: float) -> dict[str, Any]:
    """A proposal as it stands: times in RFC 3339, how many people it needs and who has agreed so far."""
    stands = approval.standing(proposal, now)
    told: dict[str, Any] = msgspec.to_builtins(stands)
    told["people"] = approval.PEOPLE[stands.needs]
    told["created_at"] = rfc3339(stands.created_at)
    told["ended_at"] = None if stands.ended_at is None else rfc3339(stands.ended_at)
    for one in told["approvals"]:
        one["valid"] = any(each.at == one["at"] for each in approval.valid(stands, now))
        one["at"] = rfc3339(one["at"])
    if told["prediction"]:
        for edge in ("since", "until"):
            told["prediction"][edge] = rfc3339(told["prediction"][edge])
    return told
