"""Counts over sliding windows: exact to one slice, and bounded whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airlock.incident.detect.window import MOST_IDS, MOST_MARKS, REPEAT, SLICES, Group, Tally, due

START = 1_790_000_000.0


@given(
    st.lists(st.tuples(st.floats(0, 500), st.integers(1, 5)), max_size=60).map(sorted),
    st.floats(0, 200),
)
def test_a_total_is_that_of_the_window_to_one_slice(rows: list[tuple[float, int]], later: float) -> None:
    tally, window = Tally(100.0), 100.0
    for at, weight in rows:
        tally.add(("a",), START + at, weight=weight)
    now = START + (rows[-1][0] if rows else 0.0) + later
    total = tally.total(("a",), now)
    slice_ = window / SLICES
    surely = sum(weight for at, weight in rows if START + at > now - window + slice_)
    perhaps = sum(weight for at, weight in rows if START + at > now - window - slice_)
    assert surely <= total <= perhaps


def test_an_unknown_group_counts_nothing() -> None:
    assert Tally(60.0).total(("a",), START) == 0


def test_a_row_that_comes_late_counts_and_clears_nothing() -> None:
    tally = Tally(100.0)
    tally.add(("a",), START)
    group = tally.add(("a",), START - 30)
    assert tally.count(group, START).total == 2
    tally.add(("a",), START - 10_000)
    assert tally.count(group, START).total == 3


def test_different_things_are_counted_while_the_window_holds_them() -> None:
    tally = Tally(60.0)
    tally.add(("a",), START, marks=("x", "y"))
    group = tally.add(("a",), START + 30, marks=("y", "z"), id="row-2")
    assert tally.count(group, START + 31).distinct == 3
    assert tally.count(group, START + 61).distinct == 2
    assert tally.count(group, START + 61).ids == ("row-2",)
    assert tally.count(group, START + 100).ids == ()


def test_memory_has_a_bound_in_groups_marks_and_rows() -> None:
    tally = Tally(60.0, most_groups=10)
    for n in range(50):
        tally.add((str(n),), START + n / 100)
    assert len(tally) == 10
    assert tally.total(("0",), START + 1) == 0
    assert tally.total(("49",), START + 1) == 1
    group = tally.add(("49",), START + 1)
    for n in range(1000):
        group = tally.add(("49",), START + 1, marks=(n,), id=str(n))
    assert len(group.marks) == MOST_MARKS
    assert len(group.rows) == MOST_IDS
    tally.add(("49",), START + 100, marks=("new",))
    assert list(group.marks) == ["new"]


def test_a_group_is_told_again_after_a_while_and_at_once_where_it_is_graver() -> None:
    group = Group()
    assert due(group, START, 1)
    assert not due(group, START + 1, 1)
    assert due(group, START + 2, 2)
    assert not due(group, START + 3, 1)
    assert due(group, START + 3 + REPEAT, 1)
