"""The certificates of the edge: read at the start, and again when their files change or a reload is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.core import certificates
from airlock.core.certificates import Renewed

if TYPE_CHECKING:
    from airlock.core.config import EdgeTls

LOOK = 2.0
"""Seconds between two looks at the files: those who renew certificates do it days before they end."""


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """The context of the edge and what keeps it true."""

    renewed: Renewed
    follow: Callable[[], Coroutine[Any, Any, None]]
    look_now: Callable[[], None]


def follow_certificates(tls: EdgeTls | None, log: FilteringBoundLogger) -> Certificates | None:
    """The context for `server.tls`, None without it. Raises `ValueError` where its files are not fit."""
    if tls is None:
        return None
    renewed = certificates.edge_renewed(tls)
    told = asyncio.Event()

    async def follow() -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await told.wait()
            told.clear()
            try:
                if await asyncio.to_thread(renewed.renew):
                    log.info("tls_reload", result="accepted", file=tls.cert_file)
            except ValueError as error:
                # What is wrong is in a file, not in our stack.
                log.error("tls_reload", result="refused", error=str(error))  # noqa: TRY400

    return Certificates(renewed=renewed, follow=follow, look_now=told.set)
