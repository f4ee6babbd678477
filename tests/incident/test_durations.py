"""How long it took: pairs of events of a timeline."""

from __future__ import annotations

import msgspec
import pytest

from airlock.incident.durations import durations, spell
from airlock.incident.keeping import said
from airlock.model.incident import IncidentEvent, Kind
from tests.incident.life_parts import MINUTE, NOW, at, opened, recorded


def event(kind: Kind, minute: int, **details: object) -> IncidentEvent:
    happened = said(kind, at(), "it happened", **details)
    return msgspec.structs.replace(happened, occurred_at=NOW + minute * MINUTE)


FIRST = [
    event("detected", 0),
    event("acknowledged", 2),
    event("role_assumed", 3),
    event("containment_succeeded", 4),
    event("evidence_collected", 5),
    event("acknowledged", 6),
    event("status_changed", 7, to="MONITORING"),
    event("status_changed", 9, to="RESOLVED"),
]
REOPENED = [*FIRST, event("status_changed", 20, step="reopen", to="INVESTIGATING")]
AGAIN = [
    *REOPENED,
    event("status_changed", 30, to="MONITORING"),
    event("status_changed", 40, to="RESOLVED"),
]


def minutes(events: list[IncidentEvent]) -> dict[str, float | None]:
    found = durations(opened(), recorded(*events))
    return {each.name: None if each.seconds is None else each.seconds / MINUTE for each in found}


def test_every_figure_is_a_pair_of_events() -> None:
    assert minutes(FIRST) == {
        "acknowledge": 2,
        "engage": 3,
        "contain": 4,
        "mitigate": 7,
        "resolve": 9,
        "evidence": 5,
    }
    resolve = durations(opened(), recorded(*FIRST))[4]
    assert (resolve.title, resolve.from_seq, resolve.to_seq) == ("Time to Resolve", 1, 8)


def test_what_was_reopened_was_not_over() -> None:
    assert (minutes(REOPENED)["mitigate"], minutes(REOPENED)["resolve"]) == (None, None)
    assert (minutes(AGAIN)["mitigate"], minutes(AGAIN)["resolve"]) == (30, 40)
    assert minutes(AGAIN)["acknowledge"] == 2


def test_what_did_not_happen_has_no_figure() -> None:
    assert set(minutes([]).values()) == {None}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (42.4, "42 s"), (60, "1 min"), (3900, "1 h 5 min"), (3661, "1 h 1 min"), (97200, "1 d 3 h")],
)
def test_a_duration_is_spelled(seconds: float, text: str) -> None:
    assert spell(seconds) == text
