"""What the supervisor orders of the runner of stdio servers, line by line on a pipe."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Literal

import msgspec

from airlock.core.config import Detector, ServerEntry
from airlock.core.log_store import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_CONFIGURATION = 16 * 1024 * 1024
"""Bytes of one line on standard input."""


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line on standard input. Servers that it does not name are stopped, changed ones start again."""

    servers: tuple[ServerEntry, ...]
    log_level: Literal["debug", "info", "warn", "error"] = "info"
    log_place: Place | None = None
    """Where log lines are kept besides; None: nowhere."""
    detectors: tuple[Detector, ...] = ()
    """What is taken out of error output before it is logged."""


async def configurations(stream: int, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a pipe, until its other end is closed or the reader is told so."""
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(stream, "rb", closefd=False)
    )
    try:
        async for line in reader:
            yield line
    finally:
        transport.close()
