"""The benchmark runs from start to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench.figures import Document, Held

PROGRAM = Path(__file__).parents[2] / "bench/run.py"

pytestmark = pytest.mark.unmeasured


def test_a_short_run_measures_everything_and_writes_it_down(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    environment = {
        **os.environ,
        "BENCH_SECONDS": "1", "BENCH_ROUNDS": "1", "BENCH_VARIANTS": "", "BENCH_RESULT": str(result),
        "BENCH_PEERS": "", "BENCH_STREAMS": "64", "BENCH_IDLE": "200", "BENCH_LISTS": "4",
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
        assert streams is not None and streams.stalled_ms < 10_000
        assert 0 < streams.cut.most < 5_000 and 0 < streams.revoked.most < 5_000
        assert streams.cpu_ms > 0 and streams.left == Held(files=0, tasks=0, processes=0)
    lists = document.lists
    assert lists is not None and {one.tools for one in lists.rows} == {80, 160, 79, 159}
    assert 0 < lists.troubled < 5
    units = [one.unit for one in document.parts]
    assert sorted(set(units)) == ["entries/s", "s", "us"]
    assert {"scan of 10 KB of words", "decision, evaluated"} <= {one.name for one in document.parts}
    assert "of nginx" in done.stdout
