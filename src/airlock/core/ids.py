"""Identifiers: time-ordered where people sort them, random where nobody may guess them."""

from __future__ import annotations

import os

from airlock.core.clock import SYSTEM

DRAWN_AT_ONCE = 128
"""Pieces of randomness from one system call, which also lets other threads in."""


class Randomness:
    """Pieces of the system's randomness, drawn in bulk. No piece is given twice: not to two threads, and not
    to a process and one that it forked."""

    def __init__(self, size: int) -> None:
        """`size`: bytes of one piece."""
        self._size = size
        self._pieces: list[bytes] = []
        os.register_at_fork(after_in_child=self._pieces.clear)

    def __call__(self) -> bytes:
        try:
            return self._pieces.pop()
        except IndexError:
            size = self._size
            drawn = os.urandom(size * DRAWN_AT_ONCE)
            self._pieces += [drawn[at : at + size] for at in range(size, len(drawn), size)]
            return drawn[:size]


_random = Randomness(10)


def uuid7() -> str:
    """UUID version 7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, 74 random bits."""
    return uuid7_at(SYSTEM.wall(), _random())


def uuid7_at(wall: float, random: bytes) -> str:
    """The same from Unix seconds and 10 random bytes, for callers that draw their randomness in bulk."""
    time, rest = f"{int(wall * 1000):012x}", random.hex()
    return f"{time[:8]}-{time[8:]}-7{rest[:3]}-{'89ab'[random[1] & 3]}{rest[4:7]}-{rest[7:19]}"


def moment(id: str) -> float:
    """When a UUID of version 7 was made, Unix seconds; 0 for any other text."""
    digits = id.replace("-", "")
    if len(digits) != 32 or digits[12] != "7":
        return 0.0
    try:
        return int(digits[:12], 16) / 1000
    except ValueError:
        return 0.0
