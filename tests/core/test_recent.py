"""What was counted lately, and how long things took."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from airlock.core.noted import EDGES, FINE, Counts, Durations
from airlock.core.recent import KEPT, STEP, Recent, percentile
from tests.gateway.parts import HandClock


def test_a_window_holds_what_was_counted_in_it() -> None:
    clock = HandClock()
    recent = Recent(clock)
    recent.add({0: 5, 1: 1})
    clock.seconds += 120
    recent.add({0: 2})
    recent.add({0: 1})
    assert recent.over(60) == {0: 3}
    assert recent.over(300) == {0: 8, 1: 1}
    clock.seconds += 61 + STEP
    assert recent.over(60) == {}


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    clock = HandClock()
    recent = Recent(clock)
    for _ in range(1000):
        recent.add({0: 1})
        clock.seconds += STEP
    recent.add({0: 1})
    assert recent.over(10 * KEPT) == {0: KEPT / STEP + 1}


def test_nothing_has_no_percentile() -> None:
    assert percentile({}, FINE, 0.95) == 0.0


@given(st.lists(st.floats(min_value=2e-5, max_value=900), min_size=1, max_size=200))
def test_a_percentile_is_within_a_fifth_of_the_true_one(took: list[float]) -> None:
    counts: dict[int, int] = {}
    for seconds in took:
        bucket = bisect_left(FINE, seconds)
        counts[bucket] = counts.get(bucket, 0) + 1
    for part in (0.5, 0.95, 0.99, 1.0):
        rank = sorted(took)[max(0, -int(-part * len(took) // 1) - 1)]
        assert rank / 1.21 <= percentile(counts, FINE, part) <= rank * 1.21


def test_what_takes_longer_than_every_edge_is_told_as_the_last() -> None:
    assert percentile({len(FINE): 1}, FINE, 0.5) == FINE[-1]


@pytest.mark.parametrize("took", [0.0, *EDGES, 0.0101, 2.99, 3.01, 5000.0])
def test_the_shown_bucket_is_the_one_of_its_edges(took: float) -> None:
    registry = CollectorRegistry()
    durations = Durations("test", "Of this test.", registry)
    durations.note(took)
    durations.hand_over()
    shown = [
        registry.get_sample_value("airlock_test_duration_seconds_bucket", {"le": str(edge)}) for edge in EDGES
    ]
    assert shown == [float(took <= edge) for edge in EDGES]
    assert durations.recent.over(60) == {bisect_left(FINE, took): 1}


def test_counts_are_remembered_without_their_labels() -> None:
    counts = Counts(Counter("airlock_test_total", "Of this test.", ["word"], registry=CollectorRegistry()))
    counts.hand_over()
    for word in ("a", "b", "a"):
        counts.note(word)
    counts.hand_over()
    assert counts.recent.over(60) == {0: 3}
