"""How bytes of a server are passed on by a proxy that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import msgspec

GARBAGE = b"\x16\x03\x7f \xff\xfe this is no answer to anything\r\n" * 4
ENDLESS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
BLANKS = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
LINGER = 0.05
"""Seconds between the last byte and a reset, which overtakes bytes that were not read yet."""


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to the bytes that come from the server."""

    answers: Literal["pass", "silent", "garbage", "endless", "torn"] = "pass"
    delay: float = 0.0
    """Seconds that every byte comes later."""
    rate: float = 0.0
    """Bytes per second of one connection; 0: as fast as they come."""
    after: int = 0
    """Bytes after which a torn answer ends."""


HONEST = Behaviour()


async def _pass(writer: asyncio.StreamWriter, piece: bytes, rate: float) -> bool:
    """As it came; False at the end. So do the other senders."""
    step = max(1, int(rate / 20)) if rate else max(1, len(piece))
    for start in range(0, len(piece), step):
        writer.write(piece[start : start + step])
        await writer.drain()
        if rate:
            await asyncio.sleep(step / rate)
    if not piece:
        writer.write_eof()
        await asyncio.sleep(LINGER)
    return bool(piece)


async def _garbage(writer: asyncio.StreamWriter, piece: bytes, rate: float) -> bool:
    await _pass(writer, GARBAGE, rate)
    return await _pass(writer, b"", rate)


async def _torn(writer: asyncio.StreamWriter, piece: bytes, rate: float) -> bool:
    if piece:
        return await _pass(writer, piece, rate)
    await asyncio.sleep(LINGER)
    return False


async def _endless(writer: asyncio.StreamWriter, piece: bytes, rate: float) -> bool:
    writer.write(ENDLESS)
    while True:
        writer.write(BLANKS)
        await writer.drain()
        await asyncio.sleep(0)


SENDERS: Mapping[str, Callable[[asyncio.StreamWriter, bytes, float], Awaitable[bool]]] = {
    "pass": _pass,
    "garbage": _garbage,
    "torn": _torn,
    "endless": _endless,
}
