"""What every worker says of itself, summed up."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.api.replicas import Answers, ReplicasApi
from airlock.app.peers import Gathered
from airlock.core.noted import FINE
from tests.api.doors import ask, request, told

FAST, SLOW = FINE.index(0.01), FINE.index(3.0)


def recent(hits: int, misses: int) -> dict[str, dict[str, int]]:
    return {"5m": {"hits": hits, "misses": misses}, "1h": {"hits": 0, "misses": 0}}


def cache(hits: int, misses: int) -> dict[str, Any]:
    return {"tokens": {"state": "on", "why": [], "held": 1, "size": 9, "recent": recent(hits, misses)}}


def api(*answers: dict[str, Any] | None, workers: int = 2) -> ReplicasApi:
    async def gathered(what: str) -> Gathered:
        assert what in ("caches", "latency")
        return Gathered(answers)

    return ReplicasApi(ask=gathered, workers=workers)


def caches(*answers: dict[str, Any] | None) -> Any:
    code, document = told(ask(api(*answers).caches, request("GET", "/admin/caches")))
    assert code == 200
    return document


def latency(*answers: dict[str, Any] | None) -> Any:
    code, document = told(ask(api(*answers).latency, request("GET", "/admin/latency")))
    assert code == 200
    return document


def test_hits_of_all_workers_make_the_rate() -> None:
    document = caches(cache(9, 1), cache(0, 10))
    assert (document["replicas_acked"], document["replicas_total"]) == (2, 2)
    assert document["caches"]["tokens"]["5m"] == {"hits": 9, "misses": 11, "hit_rate": 0.45}
    assert document["caches"]["tokens"]["1h"]["hit_rate"] is None
    assert [each["tokens"]["held"] for each in document["replicas"]] == [1, 1]


def test_a_silent_worker_is_counted_and_missing() -> None:
    document = caches(cache(3, 1), None)
    assert (document["replicas_acked"], document["replicas_total"]) == (1, 2)
    assert document["caches"]["tokens"]["5m"]["hit_rate"] == 0.75
    assert document["replicas"][1] is None


@pytest.mark.parametrize("answers", [(), (None, None)])
def test_where_nobody_answers_there_are_no_sums(answers: Answers) -> None:
    document = caches(*answers)
    assert (document["replicas_acked"], document["replicas_total"], document["caches"]) == (0, 2, {})
    assert latency(*answers)["stages"] == {}


def test_percentiles_are_of_the_messages_of_all_workers() -> None:
    quick = {"upstream": {"1m": [[FAST, 90]], "1h": []}}
    slow = {"upstream": {"1m": [[FAST, 2], [SLOW, 8]], "1h": []}}
    windows = latency(quick, slow)["stages"]["upstream"]
    assert windows["1h"] == {"count": 0}
    assert windows["1m"]["count"] == 100
    assert 8 < windows["1m"]["p50_ms"] < 10
    assert 2500 < windows["1m"]["p95_ms"] <= 3000
