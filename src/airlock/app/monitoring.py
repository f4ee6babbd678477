"""A closer look at every message, while `monitoring.enhanced` holds or lines of `debug` are written: how long
each stage took.

Otherwise a message costs one attribute test. Meanwhile each gets a pipeline of its own, the same stages with
a look at the clock around each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

import msgspec

from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.edge.slow import SLOW, subscribed, watched
from airlock.gateway.pipeline import Failure, Pipeline, Record
from airlock.model.call import Identified, Inbound, Reached, Redacted, Reply
from airlock.model.upstream import Notify, UpstreamAnswer

P = ParamSpec("P")
R = TypeVar("R")

CLOSELY = 0.1
"""Seconds from which on a message is slow to whoever looks closely."""

STAGES = (
    "authenticate",
    "read",
    "permit",
    "resolve",
    "admit",
    "authorize",
    "redact_request",
    "redact_response",
)
"""Stages that wait for nobody."""


class Logger(Protocol):
    def debug(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


class Monitoring:
    """Carries the messages of one worker, and says which took long. Used on the event loop."""

    def __init__(self, pipeline: Pipeline, *, config: Config, clock: Clock, log: Logger) -> None:
        self._pipeline = pipeline
        self._usual = watched(pipeline.govern, clock=clock, log=log)
        self._clock = clock
        self._log = log
        self.take_over(config)

    def take_over(self, config: Config) -> None:
        """Follow the configuration in force."""
        enhanced = config.monitoring.enhanced
        self._on = enhanced or config.logging.level == "debug"
        self._slow = CLOSELY if enhanced else SLOW

    def govern(self, inbound: Inbound, notify: Notify) -> Awaitable[Reply]:
        """Carry one message, as the pipeline does."""
        return self._closely(inbound, notify) if self._on else self._usual(inbound, notify)

    async def _closely(self, inbound: Inbound, notify: Notify) -> Reply:
        watch = _Stopwatch(self._clock)
        reply = await watch.over(self._pipeline).govern(inbound, notify)
        took = self._clock.monotonic() - inbound.received
        fields: dict[str, object] = {
            "correlation_id": inbound.request_id,
            "route": inbound.route,
            "status": reply.status,
            "duration_ms": round(took * 1000, 1),
            "stages_ms": {stage: round(seconds * 1000, 1) for stage, seconds in watch.took.items()},
        }
        self._log.debug("request_answered", **fields)
        if took >= self._slow and not subscribed(inbound):
            self._log.warning("slow_request", **fields, threshold_ms=self._slow * 1000)
        return reply


class _Stopwatch:
    """Times the stages of one message."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self.took: dict[str, float] = {}
        """Seconds by stage, in the order in which they ended."""

    def over(self, usual: Pipeline) -> Pipeline:
        """The same pipeline under this watch."""

        def forward(call: Redacted, notify: Notify) -> Awaitable[UpstreamAnswer]:
            return self.wait("forward", usual.forward(call, notify))

        def answer(identified: Identified, notify: Notify) -> Awaitable[Reply]:
            return self.wait("answer", usual.answer(identified, notify))

        return msgspec.structs.replace(
            usual,
            **{stage: self._around(stage, getattr(usual, stage)) for stage in STAGES},
            forward=forward,
            answer=answer,
            record=_TimedRecord(usual.record, self),
        )

    async def wait(self, stage: str, work: Awaitable[R]) -> R:
        """What `work` gives; it raises what `work` raises."""
        began = self._now()
        try:
            return await work
        finally:
            self.took[stage] = self._now() - began

    def _around(self, name: str, stage: Callable[P, R]) -> Callable[P, R]:
        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            began = self._now()
            try:
                return stage(*args, **kwargs)
            finally:
                self.took[name] = self._now() - began

        return measured


class _TimedRecord:
    """The record under a watch."""

    def __init__(self, record: Record, watch: _Stopwatch) -> None:
        self._record = record
        self._watch = watch

    async def intend(self, call: Redacted) -> None:
        await self._watch.wait("intend", self._record.intend(call))

    async def seal(self, call: Redacted, reply: Reply) -> None:
        await self._watch.wait("seal", self._record.seal(call, reply))

    async def refuse(self, reached: Reached, failure: Failure) -> None:
        await self._watch.wait("refuse", self._record.refuse(reached, failure))
