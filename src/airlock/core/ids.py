"""Identifiers: time-ordered where people sort them, random where nobody may guess them."""

from __future__ import annotations

import os
import uuid

from airlock.core.clock import SYSTEM


def uuid7() -> str:
    """UUID version 7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, 74 random bits."""
    value = int(SYSTEM.wall() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF000 << 64) | 0x7000 << 64
    value = value & ~(0xC000 << 48) | 0x8000 << 48
    return str(uuid.UUID(int=value))


def uuid7_at(wall: float, random: bytes) -> str:
    """The same from Unix seconds and 10 random bytes, for callers that draw their randomness in bulk."""
    time, rest = f"{int(wall * 1000):012x}", random.hex()
    return f"{time[:8]}-{time[8:]}-7{rest[:3]}-{'89ab'[random[1] & 3]}{rest[4:7]}-{rest[7:19]}"
