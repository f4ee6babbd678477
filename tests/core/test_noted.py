"""What is noted is shown when it is handed over: once, and all of it."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, Counter

from airlock.core.noted import Counts, Durations


def test_a_counter_without_labels_counts() -> None:
    registry = CollectorRegistry()
    counts = Counts(Counter("airlock_test_total", "Of this test.", registry=registry))
    counts.note()
    counts.note()
    assert registry.get_sample_value("airlock_test_total") == 0
    for _ in range(2):
        counts.hand_over()
        assert registry.get_sample_value("airlock_test_total") == 2


def test_labels_are_counted_apart() -> None:
    registry = CollectorRegistry()
    counts = Counts(Counter("airlock_test_total", "Of this test.", ["word"], registry=registry))
    for word in ("a", "b", "a"):
        counts.note(word)
    counts.hand_over()
    assert registry.get_sample_value("airlock_test_total", {"word": "a"}) == 2
    assert registry.get_sample_value("airlock_test_total", {"word": "b"}) == 1


def test_nothing_is_lost_that_another_thread_notes_meanwhile() -> None:
    registry = CollectorRegistry()
    durations = Durations("test", "Of this test.", registry)

    def work() -> None:
        for _ in range(5000):
            durations.note(0.5)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        durations.hand_over()
    durations.hand_over()
    assert registry.get_sample_value("airlock_test_duration_seconds_count") == 10_000
    assert registry.get_sample_value("airlock_test_duration_seconds_sum") == 5000.0
