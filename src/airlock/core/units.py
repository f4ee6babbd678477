"""Durations, rates and sizes as people write them, and back.

Only forms that cannot be misread are accepted: a unit is a whole word of the tables below, a bare number is
seconds or bytes. `64KB` is refused because half of its readers mean 64,000 and half 65,536.
"""

from __future__ import annotations

import re
from fractions import Fraction

import msgspec

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

LONGEST = 36500 * 86400.0
"""A century: what is longer is a typing error, and sums of deadlines stay exact."""

LARGEST = (1 << 63) - 1
"""What a file offset can hold."""

_PERIODS = {"s": 1, "min": 60, "h": 3600, "d": 86400}

MOST = 10**9
"""Requests in one period: what is more is no limit."""

_RATE = re.compile(r"([0-9]{1,10})/(s|min|h|d)")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(s|m|h|d)?")
_SIZE = re.compile(r"([0-9]{1,19})(B|KiB|MiB|GiB|TiB)?")


class Rate(msgspec.Struct, frozen=True):
    """So many requests in so many seconds."""

    count: int
    seconds: int

    @property
    def strictness(self) -> tuple[Fraction, int, int]:
        """Sorts rates: the fewer in the long run the smaller, then the fewer at once. Equal only for the
        same rate."""
        return Fraction(self.count, self.seconds), self.count, self.seconds


def rate(text: str) -> Rate:
    """The rate that `10/s`, `200/min`, `1000/h` or `5/d` says; `0/min` is none at all. Raises ValueError."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError("not a rate")
    count = int(match[1])
    if count > MOST:
        raise ValueError("more than any server answers")
    return Rate(count, _PERIODS[match[2]])


def duration(text: str) -> float:
    """Seconds of `30s`, `5m`, `1h`, `30d`, `1.5h` or `30`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a duration")
    seconds = float(match[1]) * _SECONDS[match[2] or "s"]
    if seconds > LONGEST:
        raise ValueError("longer than a century")
    return seconds


def size(text: str) -> int:
    """Bytes of `512`, `512B`, `64KiB`, `8MiB`, `1GiB` or `1TiB`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("not a size")
    count = int(match[1]) * _BYTES[match[2] or "B"]
    if count > LARGEST:
        raise ValueError("larger than any file")
    return count


def show_rate(limit: Rate) -> str:
    """The spelling that `rate` reads: 200 in 60 seconds is `200/min`."""
    period = {seconds: name for name, seconds in _PERIODS.items()}[limit.seconds]
    return f"{limit.count}/{period}"


def show_duration(seconds: float) -> str:
    """The shortest exact spelling: 300.0 is `5m`, 90 is `90s`, 0.5 is `0.5s`."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def show_size(count: int) -> str:
    """The shortest exact spelling: 65536 is `64KiB`, 1000 is `1000B`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"
