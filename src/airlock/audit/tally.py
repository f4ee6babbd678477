"""What the log says of its own work: counters for metrics, and at most one line a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlock.core.errors import AuditFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airlock.audit.commit import Logger, Verdict
    from airlock.core.clock import Clock

EVERY = 1.0
"""Seconds between two lines."""


class Tally:
    """Counted by the writer's thread; read by anybody, each number for itself."""

    def __init__(self, *, clock: Clock, log: Logger) -> None:
        self._clock = clock
        self._log = log
        self._said = float("-inf")
        self._size = self._first = self._last = self._dropped = 0
        self._latency = 0.0
        self.written = 0
        """Events made durable."""
        self.failures = 0
        """Events of a batch that raised AuditFault."""
        self.refusals = 0
        """Seals that were refused before they reached a batch."""
        self.batches = 0
        self.seconds = 0.0
        """Time spent in flushes."""
        self.last_event: float | None = None
        """Unix seconds of the last durable event."""

    def refused(self) -> None:
        """A seal was refused at once. Called on event loops, so it has a number of its own."""
        self.refusals += 1

    def batch(self, verdicts: Sequence[Verdict], *, latency: float, queue_depth: int) -> None:
        """Count one batch, and say so if the last line is old enough."""
        receipts = [verdict for verdict in verdicts if not isinstance(verdict, AuditFault)]
        dropped = len(verdicts) - len(receipts)
        self.failures += dropped
        self.written += len(receipts)
        self.batches += 1
        self.seconds += latency
        self._size += len(receipts)
        self._dropped += dropped
        self._latency = max(self._latency, latency)
        if receipts:
            self.last_event = self._clock.wall()
            self._first = self._first or receipts[0].seq
            self._last = receipts[-1].seq
        self.line(queue_depth=queue_depth)

    def line(self, *, queue_depth: int, now: bool = False) -> None:
        """Log the sums since the last line, if there are any and it is a second ago, or `now`."""
        moment = self._clock.monotonic()
        if not (self._size or self._dropped) or (moment - self._said < EVERY and not now):
            return
        say = self._log.error if self._dropped else self._log.info
        say(
            "audit_batch",
            size=self._size,
            first_seq=self._first,
            last_seq=self._last,
            queue_depth=queue_depth,
            dropped=self._dropped,
            latency_ms=round(self._latency * 1000, 3),
            result="error" if self._dropped else "ok",
        )
        self._said = moment
        self._size = self._first = self._last = self._dropped = 0
        self._latency = 0.0
