"""How spans leave a worker: a queue of fixed size, and a thread that sends them in batches.

What the receiver does with them, or does not, is no call's business.
"""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

import airlock
from airlock.core.config import TracingSection

QUEUE = 2048
"""Spans that wait for the receiver; what comes beyond is dropped, and what is sent goes in batches of an
eighth."""

EVERY = 1.0
"""Seconds between two batches that are not full."""

PATIENCE = 5.0
"""Seconds that the receiver gets for one batch, with every attempt."""

LAST = 3.0
"""Seconds that the last spans get when the worker ends."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def warning(self, event: str, **fields: object) -> object: ...


class Export(SpanExporter):
    """Sends spans, and says when that begins to fail and when it works again."""

    def __init__(self, inner: SpanExporter, log: Logger) -> None:
        self._inner = inner
        self._log = log
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Called by the thread that sends."""
        result = self._inner.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                self._log.warning("trace_export", result="failed")
            self._lost += len(spans)
        elif self._lost:
            self._log.info("trace_export", result="recovered", lost=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class Sending:
    """The queue of spans of one worker, and the thread that sends them."""

    def __init__(self, section: TracingSection, *, log: Logger, exporter: SpanExporter | None = None) -> None:
        """`exporter` stands in for the receiver in tests."""
        library = logging.getLogger("opentelemetry")  # what it says of a dead receiver, `Export` says
        library.addHandler(logging.NullHandler())
        library.propagate = False
        name = socket.gethostname()
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(section.sample),
            resource=Resource(
                {"service.name": "airlock", "service.version": airlock.__version__, "host.name": name}
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                Export(exporter or _receiver(section.endpoint), log),
                max_queue_size=QUEUE,
                schedule_delay_millis=EVERY * 1000,
                max_export_batch_size=QUEUE // 8,
            )
        )
        self.tracer = self._provider.get_tracer("airlock", airlock.__version__)

    async def run(self) -> None:
        """Send until cancelled, and then for a moment what is left."""
        try:
            await asyncio.Event().wait()
        finally:
            ending = threading.Thread(target=self._provider.shutdown, daemon=True)
            ending.start()
            await asyncio.to_thread(ending.join, LAST)


class _Session(requests.Session):
    """Takes the status of an answer and nothing behind it: nobody reads that, and it may never end."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        answer = super().send(request, **{**kwargs, "stream": True})
        answer.close()
        unread = requests.Response()
        unread.status_code, unread.reason, unread.headers = answer.status_code, answer.reason, answer.headers
        unread.url, unread.raw = answer.url, io.BytesIO()
        return unread


def _receiver(endpoint: str) -> SpanExporter:
    session = _Session()
    session.trust_env = False  # no proxy and no credential of the environment
    session.max_redirects = 0
    return OTLPSpanExporter(endpoint=endpoint, timeout=PATIENCE, session=session)
