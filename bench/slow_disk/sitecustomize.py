"""A disk that takes longer: every flush of the log waits BENCH_FLUSH_MS first.

Python imports this by its name in every process that has this folder on PYTHONPATH. Only `bench/rig.py` puts
it there.
"""

import os
import time

_wait = float(os.environ["BENCH_FLUSH_MS"]) / 1000
_flush = os.fdatasync


def _slow_flush(descriptor: int) -> None:
    time.sleep(_wait)
    _flush(descriptor)


os.fdatasync = _slow_flush
