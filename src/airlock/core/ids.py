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
