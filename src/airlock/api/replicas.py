"""`/admin/caches` and `/admin/latency`: what every worker says of itself, and of all of them together.

Every worker is asked at the time of the request: `replicas_acked` of `replicas_total` answered. A sum of less
than all is no answer for the whole, and says so by these two numbers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from airlock.api.entries import Entry
from airlock.core.noted import FINE
from airlock.core.recent import Counts, add_up, percentile
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal

PARTS = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


Answers = tuple[dict[str, Any] | None, ...]
"""By slot; None of a worker that gave none."""


class Gathered(Protocol):
    """What came back."""

    @property
    def answers(self) -> Answers: ...


class ReplicasApi:
    """`ask` asks each of so many workers by one word, and waits a bounded time."""

    def __init__(self, *, ask: Callable[[str], Awaitable[Gathered]], workers: int) -> None:
        self._ask = ask
        self._workers = workers

    async def caches(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Each cache: hits, misses and the rate of hits by window, and the caches of each worker."""
        answers = await self._answers("caches")
        said = [answer for answer in answers if answer is not None]
        names = list(said[0]) if said else []
        sums = {name: _lately([answer[name]["recent"] for answer in said]) for name in names}
        return _told(answers, caches=sums, replicas=answers)

    async def latency(self, request: HttpRequest, admin: Principal) -> HttpResponse:
        """Each stage by window: how many there were, and how long they took."""
        answers = await self._answers("latency")
        said = [answer for answer in answers if answer is not None]
        stages = list(said[0]) if said else []
        return _told(answers, stages={stage: _took([answer[stage] for answer in said]) for stage in stages})

    async def _answers(self, what: str) -> Answers:
        """One for each worker, also where nobody could be asked."""
        answers = (await self._ask(what)).answers
        return answers or (None,) * self._workers


def entries(api: ReplicasApi) -> tuple[Entry, ...]:
    """The addresses of this part."""
    return (
        Entry(
            method="GET",
            path="/admin/caches",
            permission="gateway.read",
            summary="Say how the caches of every worker do.",
            handler=api.caches,
        ),
        Entry(
            method="GET",
            path="/admin/latency",
            permission="gateway.read",
            summary="Say how long each stage takes.",
            handler=api.latency,
        ),
    )


def _told(answers: Answers, **more: object) -> HttpResponse:
    acked = sum(answer is not None for answer in answers)
    return json_response(200, {"replicas_acked": acked, "replicas_total": len(answers), **more})


def _lately(said: list[dict[str, dict[str, int]]]) -> dict[str, dict[str, float | None]]:
    """Hits and misses of all, by window; without a question there is no rate."""
    found: dict[str, dict[str, float | None]] = {}
    for window in said[0]:
        hits = sum(each[window]["hits"] for each in said)
        misses = sum(each[window]["misses"] for each in said)
        rate = round(hits / (hits + misses), 4) if hits or misses else None
        found[window] = {"hits": hits, "misses": misses, "hit_rate": rate}
    return found


def _took(said: list[dict[str, list[tuple[int, int]]]]) -> dict[str, dict[str, float]]:
    """Count and percentiles of all, by window; without a count there are no percentiles."""
    found: dict[str, dict[str, float]] = {}
    for window in said[0]:
        counts: Counts = {}
        for each in said:
            add_up(counts, dict(each[window]))
        found[window] = {"count": sum(counts.values())}
        if counts:
            took = {name: percentile(counts, FINE, part) for name, part in PARTS.items()}
            found[window] |= {name: round(seconds * 1000, 2) for name, seconds in took.items()}
    return found
