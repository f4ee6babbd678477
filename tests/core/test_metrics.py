"""What is counted, in one process and over several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from airlock.core import metrics
from airlock.core.standing import Standing


def sample(text: bytes, name: str) -> float | None:
    """The value of a sample, or None."""
    for line in text.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return None


def test_what_happened_is_counted_under_its_word() -> None:
    metrics.from_zero(reasons=["of_this_test"], patterns=["of_this_test"], limits=["of_this_test"])
    label = '"of_this_test"'
    assert sample(metrics.exposition(), f"airlock_auth_failures_total{{reason={label}}}") == 0
    assert sample(metrics.exposition(), f"airlock_rate_limited_total{{limit={label}}}") == 0
    metrics.auth_failed("of_this_test")
    metrics.rate_limited("of_this_test")
    metrics.redacted("of_this_test", 3)
    metrics.redacted("of_this_test")
    metrics.leases_active("of_this_test", 2)
    text = metrics.exposition()
    assert sample(text, f"airlock_auth_failures_total{{reason={label}}}") == 1
    assert sample(text, f"airlock_rate_limited_total{{limit={label}}}") == 1
    assert sample(text, f"airlock_redactions_total{{pattern={label}}}") == 4
    assert sample(text, f"airlock_leases_active{{kind={label}}}") == 2


COUNT = """
from airlock.core import metrics
metrics.from_zero(reasons=["quiet"])
for _ in range({times}):
    metrics.auth_failed("loud")
metrics.leases_active("block", {leases})
metrics.jwks_refreshed({leases}.5)
"""


def test_processes_count_together(tmp_path: Path) -> None:
    for times, leases in ((2, 7), (3, 5)):
        code = COUNT.format(times=times, leases=leases)
        environ = {**os.environ, metrics.DIRECTORY: str(tmp_path)}
        subprocess.run([sys.executable, "-c", code], check=True, env=environ, timeout=60)
    text = metrics.exposition(str(tmp_path))
    assert sample(text, 'airlock_auth_failures_total{reason="loud"}') == 5
    assert sample(text, 'airlock_auth_failures_total{reason="quiet"}') == 0
    assert sample(text, 'airlock_leases_active{kind="block"}') == 5
    assert sample(text, "airlock_jwks_last_refresh_timestamp_seconds") == 5.5
    assert b"pid=" not in text


def test_a_duration_falls_into_the_first_bucket_that_holds_it() -> None:
    before = metrics.exposition()
    for seconds in (0.0, 0.01, 0.0100001, 0.06, 3.0, 3.5):
        metrics.UPSTREAM.note(seconds)
    after = metrics.exposition()

    def grown(name: str) -> float:
        return (sample(after, name) or 0) - (sample(before, name) or 0)

    bucket = "airlock_upstream_duration_seconds_bucket"
    edges = ("0.01", "0.025", "0.05", "0.06", "0.1", "0.2", "0.5", "1.0", "3.0", "+Inf")
    counts = [grown(f'{bucket}{{le="{edge}"}}') for edge in edges]
    assert counts == [2, 3, 3, 4, 4, 4, 4, 4, 5, 6]
    assert grown("airlock_upstream_duration_seconds_count") == 6
    assert round(grown("airlock_upstream_duration_seconds_sum"), 6) == 6.58


def test_what_is_noted_is_counted_once() -> None:
    metrics.REQUESTS.note("of_this_test", "200")
    metrics.REQUESTS.note("of_this_test", "200")
    for _ in range(2):
        text = metrics.exposition()
        assert sample(text, 'airlock_requests_total{method="of_this_test",status="200"}') == 2


def test_methods_and_decisions_are_there_from_the_start() -> None:
    metrics.from_zero(methods=["quiet_method"], decisions=["quiet_decision"])
    text = metrics.exposition()
    assert sample(text, 'airlock_requests_total{method="quiet_method",status="200"}') == 0
    assert sample(text, 'airlock_policy_decisions_total{decision="quiet_decision"}') == 0


def test_what_is_unknown_of_the_log_is_not_said() -> None:
    metrics.audit_stands(queue_depth=3, age=-0.5, free=7)
    metrics.audit_stands(queue_depth=2, age=None, free=None)
    text = metrics.exposition()
    assert sample(text, "airlock_audit_queue_depth") == 2
    assert sample(text, "airlock_audit_last_event_age_seconds") == 0
    assert sample(text, "airlock_audit_storage_free_bytes") == 7


def test_the_revisions_are_those_of_now() -> None:
    for revision, other in (("a", "b"), ("b", "a")):
        standing = Standing(revisions=frozenset({revision}), reloads={"refused": 4})
        text = metrics.exposition(standing=standing)
        assert sample(text, f'airlock_policy_revision_info{{sha256="{revision}"}}') == 1
        assert sample(text, f'airlock_policy_revision_info{{sha256="{other}"}}') is None
        assert sample(text, 'airlock_policy_reload_total{result="refused"}') == 4


HOLD = """
import os
from airlock.core import metrics
metrics.up()
metrics.REQUEST.note(0.2)
metrics.ready("policy", serving={serving})
metrics.audit_written(4)
metrics.audit_stands(queue_depth=3, age={age}, free={free})
metrics.hand_over()
print(os.getpid())
"""


def test_what_a_process_held_ends_with_it_and_what_it_counted_stays(tmp_path: Path) -> None:
    pids: list[int] = []
    for serving, age, free in ((True, 5.0, 100), (False, 8.0, 90)):
        code = HOLD.format(serving=serving, age=age, free=free)
        environ = {**os.environ, metrics.DIRECTORY: str(tmp_path)}
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, check=True, env=environ, timeout=60, capture_output=True, text=True)
        pids.append(int(done.stdout))
    assert {path.stat().st_blocks * 512 >= metrics.ROOM for path in tmp_path.glob("*.db")} == {True}
    text = metrics.exposition(str(tmp_path))
    assert sample(text, 'airlock_ready{component="policy"}') == 0
    assert sample(text, "airlock_audit_queue_depth") == 6
    assert sample(text, "airlock_audit_last_event_age_seconds") == 5
    assert sample(text, "airlock_audit_storage_free_bytes") == 90
    metrics.gone(pids[1], str(tmp_path))
    text = metrics.exposition(str(tmp_path))
    assert sample(text, "airlock_up") == 1
    assert sample(text, 'airlock_ready{component="policy"}') == 1
    assert sample(text, "airlock_audit_queue_depth") == 3
    assert sample(text, "airlock_audit_storage_free_bytes") == 100
    assert sample(text, "airlock_audit_written_total") == 8
    assert sample(text, 'airlock_request_duration_seconds_bucket{le="0.2"}') == 2
    assert sample(text, 'airlock_request_duration_seconds_bucket{le="0.1"}') == 0
    metrics.gone(pids[0], str(tmp_path))
    assert sample(metrics.exposition(str(tmp_path)), "airlock_up") is None
