"""`/live`, `/ready`, `/health`: whether the process runs, whether it may serve, and what is wrong.

Public on purpose, so they name parts and states and nothing else.
"""

from __future__ import annotations

import airlock
from airlock.core.clock import Clock
from airlock.model.health import Health
from airlock.model.http import HttpRequest, HttpResponse, json_response

STALL = 5.0
"""Seconds without a turn of the event loop after which the process is not alive."""


class HealthApi:
    """Answers from what the worker last noted; computes nothing, asks nobody."""

    def __init__(self, *, health: Health, clock: Clock) -> None:
        self._health = health
        self._clock = clock
        self._last_tick = clock.monotonic()

    def tick(self) -> None:
        """Called every second by the event loop."""
        self._last_tick = self._clock.monotonic()

    async def live(self, request: HttpRequest) -> HttpResponse:
        """200 while the event loop turns."""
        stalled = self._clock.monotonic() - self._last_tick > STALL
        return json_response(503 if stalled else 200, {"status": "stalled" if stalled else "alive"})

    async def ready(self, request: HttpRequest) -> HttpResponse:
        """200 while calls may be served; 503 with the reasons."""
        ready = self._health.ready
        return json_response(200 if ready else 503, {"ready": ready, "components": self._health.components})

    async def health(self, request: HttpRequest) -> HttpResponse:
        """`ok`, `degraded` (still serving) or `down`."""
        status = "down" if not self._health.ready else "degraded" if self._health.degraded else "ok"
        return json_response(
            503 if status == "down" else 200,
            {"status": status, "version": airlock.__version__, "components": self._health.components},
        )
