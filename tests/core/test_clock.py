from __future__ import annotations

import time

from airlock.core.clock import SYSTEM, rfc3339, timestamp


def test_the_systems_clocks_are_the_machines() -> None:
    before = time.time(), time.monotonic()
    assert before[0] <= SYSTEM.wall() <= time.time()
    assert before[1] <= SYSTEM.monotonic() <= time.monotonic()


def test_audit_timestamps_always_have_26_characters() -> None:
    assert [timestamp(0), timestamp(1.5)] == ["1970-01-01 00:00:00.000000", "1970-01-01 00:00:01.500000"]


def test_answers_say_whole_seconds_in_utc() -> None:
    assert rfc3339(1_700_000_000.9) == "2023-11-14T22:13:20Z"
