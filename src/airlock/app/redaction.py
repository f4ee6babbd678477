"""Wiring: what may not travel. The rules of the configuration, the stages that keep them, and who is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.gateway.asking import Asking
from airlock.gateway.definitions import Definitions
from airlock.gateway.fit import Fit
from airlock.gateway.lifetime import Lifetime
from airlock.gateway.record import Announce
from airlock.gateway.redact import Redactors, Rules
from airlock.gateway.redact_request import RedactRequest
from airlock.gateway.redact_response import RedactResponse, Sealed
from airlock.gateway.restrict import Strength, as_configured
from airlock.model.call import Findings, Redacted
from airlock.redaction.detectors import NAMES
from airlock.redaction.rewrite import URL_BLOCKED


class Redaction(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one worker that take something out."""

    redactors: Redactors
    request: RedactRequest
    response: RedactResponse
    definitions: Definitions

    def reload(self, config: Config) -> None:
        """Take over the rules of another configuration."""
        self.redactors.rules = Rules(config.redaction)


def wire(
    *,
    config: Config,
    clock: Clock,
    asking: Asking,
    sealed: Sealed,
    lifetime: Lifetime,
    strength: Callable[[Redacted], Strength] = as_configured,
) -> Redaction:
    """The parts, on the rules of this configuration. Every detector is a metric from the start. `strength`:
    what leases demand of an answer."""
    redactors, fit = Redactors(Rules(config.redaction)), Fit()
    tokens = itertools.count(1)
    metrics.from_zero(patterns=(*NAMES, URL_BLOCKED))
    return Redaction(
        redactors=redactors,
        request=RedactRequest(
            redactors=redactors,
            fit=fit,
            clock=clock,
            progress=lambda: f"p{next(tokens)}",
            capabilities=asking.capabilities,
        ),
        response=RedactResponse(
            redactors=redactors,
            fit=fit,
            asking=asking,
            sealed=sealed,
            lifetime=lifetime,
            strength=strength,
        ),
        definitions=Definitions(redactors),
    )


def announcer(log: FilteringBoundLogger) -> Announce:
    """Tells metrics and log what was taken out, by detector: counts, never values."""

    def announce(found: Findings, tool: str, request_id: str) -> None:
        for pattern, count in sorted(found.counts.items()):
            metrics.redacted(pattern, count)
            log.info("redact", pattern=pattern, tool=tool, count=count, correlation_id=request_id)

    return announce
