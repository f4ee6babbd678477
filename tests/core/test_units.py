from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.core import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("30d", 2592000),
        ("1.5h", 5400),
        ("30", 30),
        ("0", 0),
        ("0.25", 0.25),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "5 m", "-5m", "5M", "5min", "1h30m", "1e3", "inf", "nan", "٣s", "5m\n", "36501d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a duration|century"):
        units.duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("512", 512), ("512B", 512), ("64KiB", 65536), ("8MiB", 8 << 20), ("1GiB", 1 << 30), ("2TiB", 2 << 40)],
)
def test_a_size_is_read_in_bytes(text: str, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize(
    "text", ["", "KiB", "64KB", "64K", "64kib", "1.5MiB", "-1", "1 MiB", "9999999999999999999TiB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a size|larger"):
        units.size(text)


@given(st.integers(0, 36500 * 86400))
def test_a_duration_that_is_shown_reads_back(seconds: int) -> None:
    assert units.duration(units.show_duration(seconds)) == seconds


@given(st.integers(0, units.LARGEST))
def test_a_size_that_is_shown_reads_back(count: int) -> None:
    assert units.size(units.show_size(count)) == count


@pytest.mark.parametrize(
    ("seconds", "text"), [(300.0, "5m"), (90.0, "90s"), (0.5, "0.5s"), (0, "0s"), (86400, "1d")]
)
def test_the_shortest_exact_spelling_is_shown(seconds: float, text: str) -> None:
    assert units.show_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [("10/s", 10, 1), ("200/min", 200, 60), ("1000/h", 1000, 3600), ("5/d", 5, 86400), ("0/min", 0, 60)],
)
def test_a_rate_is_read_and_shown_as_it_was_written(text: str, count: int, seconds: int) -> None:
    assert units.rate(text) == units.Rate(count, seconds)
    assert units.show_rate(units.rate(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "10", "10/", "10 / min", "10/m", "10/minute", "-1/s", "1.5/s", "٣/s", "10/s\n", "1000000001/s"],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a rate|more than"):
        units.rate(text)


@pytest.mark.parametrize(
    ("slow", "fast"), [("10/min", "1/s"), ("1/s", "60/min"), ("0/s", "0/min"), ("23/d", "1/h")]
)
def test_rates_are_sorted_by_the_long_run_then_by_how_many_come_at_once(slow: str, fast: str) -> None:
    assert units.rate(slow).strictness < units.rate(fast).strictness
