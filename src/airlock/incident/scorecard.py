"""The scorecard of drills: what was proven when, and what was not for too long. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from airlock.core.clock import rfc3339
from airlock.incident.severity import DAY
from airlock.model.drill import Drill, Kind

DUE: Mapping[Kind, float] = {"rule": 30 * DAY, "playbook": 90 * DAY}
"""Seconds after which a rule or a playbook counts as untested."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One rule or playbook."""

    id: str
    kind: Kind
    title: str
    last_proven: str | None
    """RFC 3339; None: never."""
    warning: str
    """Empty: it was proven lately."""
    waiting: bool
    """Somebody asked for a drill that nobody ran yet."""
    last: dict[str, Any] | None
    """The newest result."""


def line(
    id: str,
    kind: Kind,
    title: str,
    results: Sequence[Drill],
    *,
    proven: float | None,
    waiting: bool,
    now: float,
) -> Line:
    """The line of a rule or playbook. `results`: the newest first; `proven`: when it last passed."""
    return Line(
        id=id,
        kind=kind,
        title=title,
        last_proven=None if proven is None else rfc3339(proven),
        warning=_warning(kind, results, proven, now),
        waiting=waiting,
        last=shown(results[0]) if results else None,
    )


def shown(drill: Drill) -> dict[str, Any]:
    """A drill as answers have it: times in RFC 3339, durations in seconds."""
    told: dict[str, Any] = msgspec.to_builtins(drill)
    ended = drill.ended_at
    return told | {
        "asked_at": rfc3339(drill.asked_at),
        "ended_at": None if ended is None else rfc3339(ended),
    }


def stalest(subjects: Sequence[str], proven: Mapping[str, float]) -> str:
    """Of these the one that was never proven, or whose proof is the oldest."""
    return min(subjects, key=lambda subject: proven.get(subject, 0.0))


def _warning(kind: Kind, results: Sequence[Drill], proven: float | None, now: float) -> str:
    if results and results[0].state == "failed":
        return "its last drill failed"
    if results and results[0].state == "pending":
        return "nothing of it can be drilled here"
    if proven is None:
        return "never drilled"
    days = DUE[kind] / DAY
    return f"not drilled for more than {days:g} days" if now - proven > DUE[kind] else ""
