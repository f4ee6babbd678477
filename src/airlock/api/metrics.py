"""`/metrics`: what is counted, in the text format of Prometheus, summed over the workers.

Public like `/ready`, unless `server.metrics_allow` names networks. Labels are words of ours, never a subject,
a tenant, an address or an argument.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from airlock.api.door import problem
from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.core.standing import Standing
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.network import address, network

FRESH = 1.0
"""Seconds for which an answer serves whoever asks: nobody makes us read the files more often."""


class MetricsApi:
    """Answers from the files that the workers count in; without a directory, from this process."""

    def __init__(
        self,
        *,
        directory: Path | None,
        clock: Clock,
        look: Callable[[], Standing | None] = lambda: None,
        allow: Iterable[str] = (),
    ) -> None:
        """`look` hands over what this worker noted, and says how the whole stands. `allow` are the networks
        that get an answer; without one, everybody does."""
        self._allow = tuple(network(each) for each in allow)
        self._look = look
        self._directory = "" if directory is None else str(directory)
        self._clock = clock
        self._body = b""
        self._read_at = -FRESH

    async def metrics(self, request: HttpRequest) -> HttpResponse:
        """200 with everything; 403 for an address that may not ask."""
        if self._allow and not self._allowed(request.source_ip):
            return problem(403, "metrics_not_allowed", "This address may not read the metrics.")
        now = self._clock.monotonic()
        if now - self._read_at >= FRESH:
            self._read_at = now
            self._body = await asyncio.to_thread(metrics.exposition, self._directory, self._look())
        headers = (("content-type", metrics.CONTENT_TYPE), ("cache-control", "no-store"))
        return HttpResponse(status=200, body=self._body, headers=headers)

    def _allowed(self, source_ip: str) -> bool:
        try:
            source = address(source_ip)
        except ValueError:  # nobody knows where it comes from
            return False
        return any(source.version == each.version and source in each for each in self._allow)
