"""`/metrics`: what is counted, in the text format of Prometheus, summed over the workers.

Public like `/ready`: labels are words of ours, never a subject, a tenant, an address or an argument.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.model.http import HttpRequest, HttpResponse

FRESH = 1.0
"""Seconds for which an answer serves whoever asks: nobody makes us read the files more often."""


class MetricsApi:
    """Answers from the files that the workers count in; without a directory, from this process."""

    def __init__(
        self,
        *,
        directory: Path | None,
        clock: Clock,
        look: Callable[[], metrics.Standing | None] = lambda: None,
    ) -> None:
        """`look` hands over what this worker noted, and says how the whole stands."""
        self._look = look
        self._directory = "" if directory is None else str(directory)
        self._clock = clock
        self._body = b""
        self._read_at = -FRESH

    async def metrics(self, request: HttpRequest) -> HttpResponse:
        """200 with everything."""
        now = self._clock.monotonic()
        if now - self._read_at >= FRESH:
            self._read_at = now
            self._body = await asyncio.to_thread(metrics.exposition, self._directory, self._look())
        headers = (("content-type", metrics.CONTENT_TYPE), ("cache-control", "no-store"))
        return HttpResponse(status=200, body=self._body, headers=headers)
