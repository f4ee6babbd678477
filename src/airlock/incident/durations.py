"""How long it took to answer: each figure is a pair of events of the timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from airlock.model.incident import Incident, Recorded

Is = Callable[[Recorded], bool]


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `seconds` None: it did not happen yet, or nothing says when."""

    name: str
    """`acknowledge`, `engage`, `contain`, `mitigate`, `resolve` or `evidence`."""
    title: str
    seconds: float | None = None
    from_seq: int | None = None
    to_seq: int | None = None


def _kind(kind: str) -> Is:
    return lambda recorded: recorded.event.kind == kind


def _moved_to(status: str) -> Is:
    return lambda recorded: recorded.event.details.get("to") == status


_ENDS: tuple[tuple[str, str, Is, bool], ...] = (
    ("acknowledge", "Time to Acknowledge", _kind("acknowledged"), False),
    ("engage", "Time to Engage", _kind("role_assumed"), False),
    ("contain", "Time to Contain", _kind("containment_succeeded"), False),
    ("mitigate", "Time to Mitigate", _moved_to("MONITORING"), True),
    ("resolve", "Time to Resolve", _moved_to("RESOLVED"), True),
    ("evidence", "Time to Evidence", _kind("evidence_collected"), False),
)
"""Name, title, the event that ends it, and whether the last one counts: what was reopened was not over."""


def durations(incident: Incident, timeline: Sequence[Recorded]) -> tuple[Duration, ...]:
    """The six figures, in seconds from the detection."""
    seen = [recorded.seq for recorded in timeline if recorded.event.kind == "detected"]
    found: list[Duration] = []
    for name, title, is_end, last in _ENDS:
        end = _end(timeline, is_end, last=last)
        if end is None:
            found.append(Duration(name=name, title=title))
            continue
        seconds = max(0.0, end.event.occurred_at - incident.detected_at)
        first = seen[0] if seen else None
        found.append(Duration(name=name, title=title, seconds=seconds, from_seq=first, to_seq=end.seq))
    return tuple(found)


def spell(seconds: float) -> str:
    """A duration for people, its two largest units: `2 d 3 h`, `1 h 5 min`, `42 s`."""
    left, words = round(seconds), list[str]()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2]) or "0 s"


def _end(timeline: Sequence[Recorded], is_end: Is, *, last: bool) -> Recorded | None:
    """The event that ended it; None where none did, or it was reopened since."""
    found = [recorded for recorded in timeline if is_end(recorded)]
    if not found:
        return None
    if not last:
        return found[0]
    reopened = any(
        each.event.details.get("step") == "reopen" for each in timeline if each.seq > found[-1].seq
    )
    return None if reopened else found[-1]
