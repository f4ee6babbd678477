"""`GET /metrics`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from airlock.api.metrics import FRESH, MetricsApi
from airlock.core import metrics
from airlock.model.http import HttpRequest, HttpResponse
from tests.gateway.parts import HandClock

REQUEST = HttpRequest(method="GET", path="/metrics", params={}, authorization=None, source_ip="127.0.0.1")


def ask(api: MetricsApi) -> HttpResponse:
    return asyncio.run(api.metrics(REQUEST))


def test_the_answer_is_the_text_format() -> None:
    metrics.auth_failed("asked_for")
    answer = ask(MetricsApi(directory=None, clock=HandClock()))
    assert answer.status == 200
    assert dict(answer.headers)["content-type"].startswith("text/plain; version=")
    assert b'airlock_auth_failures_total{reason="asked_for"}' in answer.body


def test_an_answer_serves_whoever_asks_within_a_second() -> None:
    clock = HandClock()
    api = MetricsApi(directory=None, clock=clock)
    before = ask(api).body
    metrics.auth_failed("between_two_answers")
    assert ask(api).body == before
    clock.seconds += FRESH
    assert b"between_two_answers" in ask(api).body


def test_workers_count_in_their_directory(tmp_path: Path) -> None:
    assert ask(MetricsApi(directory=tmp_path, clock=HandClock())).body == b""


@pytest.mark.parametrize(
    ("source", "status"),
    [("10.1.2.3", 200), ("2001:db8::1", 200), ("10.2.0.1", 403), ("::ffff:10.1.2.3", 200), ("", 403)],
)
def test_only_named_networks_get_an_answer(source: str, status: int) -> None:
    api = MetricsApi(directory=None, clock=HandClock(), allow=("10.1.0.0/16", "2001:db8::/32"))
    answer = asyncio.run(api.metrics(msgspec.structs.replace(REQUEST, source_ip=source)))
    assert answer.status == status
    assert status == 200 or b'"code":"metrics_not_allowed"' in answer.body
