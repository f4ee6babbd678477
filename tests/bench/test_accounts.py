"""What was spent, as the kernel says it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench import accounts

SLOW_DISK = Path(accounts.__file__).with_name("slow_disk")

STAT = """cpu  300 0 100 9000 50 0 10 7 0 0
cpu0 200 10 50 4000 50 5 5 4 0 0
cpu1 100 0 50 5000 0 0 5 3 0 0
intr 1 2 3
"""

FLUSH = """
import os, sys, time
descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
start = time.monotonic()
os.fdatasync(descriptor)
print(time.monotonic() - start)
"""


def test_a_core_is_busy_with_all_but_idling_and_waiting() -> None:
    tick = os.sysconf("SC_CLK_TCK")
    busy, stolen = accounts.core_seconds(STAT)
    assert busy == {0: 270 / tick, 1: 155 / tick}
    assert stolen == 7 / tick


def test_a_reading_has_the_time_of_a_process_at_work() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            end = time.monotonic() + 30
            while accounts.cpu_seconds(process.pid) < 0.1 and time.monotonic() < end:
                time.sleep(0.02)
            reading = accounts.read({"worker": process.pid})
        finally:
            process.kill()
    assert reading.processes["worker"] >= 0.1
    assert os.sched_getaffinity(0) <= reading.cores.keys()


def test_the_disk_is_asked_and_nothing_is_left(tmp_path: Path) -> None:
    assert min(accounts.flush_times(tmp_path, 3)) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_was_never_written_has_no_backlog(tmp_path: Path) -> None:
    assert accounts.backlog(tmp_path) == 0


def test_what_is_durable_and_in_no_database_is_backlog(tmp_path: Path) -> None:
    chain = tmp_path / "journal" / "0198c0de-0000-7000-8000-000000000001"
    chain.mkdir(parents=True)
    (chain / "durable").write_bytes((12).to_bytes(8, "little"))
    assert accounts.backlog(tmp_path) == 12


def test_a_slow_disk_keeps_every_flush_waiting(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SLOW_DISK), "BENCH_FLUSH_MS": "250"}
    run = subprocess.run(
        [sys.executable, "-c", FLUSH, str(tmp_path / "file")],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(run.stdout) >= 0.25
