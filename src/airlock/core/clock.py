"""The only module that reads a clock.

`wall` is for what people and tokens say, `monotonic` for durations and deadlines. `Clock` is the seam
that tests turn by hand.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Seconds, as floats. `wall` is Unix time and may step; `monotonic` never goes back."""

    def wall(self) -> float: ...
    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks, without a call of Python in between: a governed call asks them thirty times."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


SYSTEM: Clock = SystemClock()

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z", re.ASCII)


def timestamp(wall: float) -> str:
    """`YYYY-MM-DD HH:MM:SS.ffffff` in UTC, 26 characters: the form of audit rows."""
    return datetime.fromtimestamp(wall, UTC).isoformat(" ", "microseconds")[:26]


def log_time(wall: float) -> str:
    """`YYYY-MM-DDTHH:MM:SS.ffffffZ`, 27 characters: the form of log lines, which sorts by itself."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def rfc3339(wall: float) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`: the form of answers to callers."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> float:
    """Unix seconds of `YYYY-MM-DDTHH:MM:SSZ`, seconds optional. Raises ValueError."""
    if not _MOMENT.fullmatch(text):
        raise ValueError("not a moment in UTC")
    return datetime.fromisoformat(text).timestamp()
