"""Spans leave a worker without holding it up, wherever they go."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from airlock.app import spans
from airlock.app.spans import Export, Sending
from airlock.core.config import TracingSection
from tests.gateway.parts import Lines

GOOD, BAD = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


class Receiver(SpanExporter):
    """Answers as it is told, once it is let."""

    def __init__(self, *results: SpanExportResult) -> None:
        self.results = list(results)
        self.names: list[str] = []
        self.let = threading.Event()
        self.ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.let.wait(30)
        self.names += [span.name for span in spans]
        return self.results.pop(0) if self.results else GOOD

    def shutdown(self) -> None:
        self.ended = True


def test_a_receiver_that_fails_is_said_once_and_again_when_it_works() -> None:
    lines, receiver = Lines(), Receiver(BAD, BAD, GOOD, GOOD)
    receiver.let.set()
    export = Export(receiver, lines)
    sent: list[ReadableSpan] = [ReadableSpan("one"), ReadableSpan("two")]
    assert [export.export(sent) for _ in range(4)] == [BAD, BAD, GOOD, GOOD]
    assert lines.lines == [
        {"level": "warning", "event": "trace_export", "result": "failed"},
        {"level": "info", "event": "trace_export", "result": "recovered", "lost": 4},
    ]
    export.shutdown()
    assert receiver.ended


def section(endpoint: str = "http://127.0.0.1:9/v1/traces", sample: float = 1.0) -> TracingSection:
    return TracingSection(endpoint=endpoint, sample=sample)


def test_a_worker_that_ends_sends_what_is_left() -> None:
    receiver = Receiver()
    receiver.let.set()
    sending = Sending(section(), log=Lines(), exporter=receiver)

    async def scenario() -> None:
        running = asyncio.create_task(sending.run())
        await asyncio.sleep(0)
        sending.tracer.start_span("last").end()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert receiver.names == ["last"]
    assert receiver.ended


def test_a_receiver_that_hangs_holds_up_neither_spans_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "LAST", 0.05)
    receiver = Receiver()
    sending = Sending(section(), log=Lines(), exporter=receiver)
    for number in range(3 * spans.QUEUE):
        sending.tracer.start_span(str(number)).end()

    async def scenario() -> None:
        running = asyncio.create_task(sending.run())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert receiver.names == []
    receiver.let.set()


def test_a_part_of_the_traces_is_sent() -> None:
    sending = Sending(section(sample=0.0), log=Lines(), exporter=Receiver())
    span = sending.tracer.start_span("none")
    assert not span.is_recording()
    span.end()


def test_nobody_at_the_address_costs_nothing_but_the_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "PATIENCE", 0.2)
    lines = Lines()
    sending = Sending(section(), log=lines)
    sending.tracer.start_span("lost").end()

    async def scenario() -> None:
        running = asyncio.create_task(sending.run())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert lines.lines == [{"level": "warning", "event": "trace_export", "result": "failed"}]


def test_an_answer_that_does_not_end_is_not_read() -> None:
    lines = Lines()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sending = Sending(section(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces"), log=lines)
        sending.tracer.start_span("sent").end()
        receiver, _ = listener.accept()
        with receiver:
            receiver.settimeout(30)
            assert receiver.recv(65536).startswith(b"POST /v1/traces ")
            receiver.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with pytest.raises(ConnectionError):
                while True:
                    receiver.sendall(bytes(65536))

    async def scenario() -> None:
        running = asyncio.create_task(sending.run())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert lines.lines == []


def test_without_an_address_nothing_of_it_is_loaded() -> None:
    program = "import sys, airlock.worker; print('opentelemetry.sdk' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
