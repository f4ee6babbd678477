"""What is counted, in one process and over several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from airlock.core import metrics


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
