"""The benchmark runs from start to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.figures import Document

PROGRAM = Path(__file__).parents[2] / "bench/run.py"

pytestmark = pytest.mark.unmeasured


def test_a_short_run_measures_everything_and_writes_it_down(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    environment = {
        **os.environ,
        "BENCH_SECONDS": "1", "BENCH_ROUNDS": "1", "BENCH_VARIANTS": "", "BENCH_RESULT": str(result),
        "BENCH_PEERS": "", "BENCH_STREAMS": "32", "BENCH_IDLE": "200",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=environment, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = msgspec.json.decode(result.read_bytes(), type=Document)
    assert [one.row for one in document.rounds] == ["nginx", "mixed", "low", "medium"]
    assert min(one.cpu_us for one in document.rounds) > 0
    assert min(one.projector_us for one in document.rounds[1:]) > 0
    assert document.open_loop.calls > 0
    assert document.swaps is not None and document.swaps.per_second > 0
    for streams in (document.streams, document.idle):
        assert streams is not None and 0 < streams.cut.most < 10_000 and streams.stalled_ms < 10_000
    units = [one.unit for one in document.parts]
    assert sorted(set(units)) == ["entries/s", "s", "us"]
    assert {"scan of 10 KB of words", "decision, evaluated"} <= {one.name for one in document.parts}
    assert "of nginx" in done.stdout
