"""What a worker answers when it is asked what goes on in it."""

from __future__ import annotations

import asyncio

import pytest

from airlock.app.insight import Insight, remembering
from airlock.app.peers import Peers
from airlock.core import metrics
from airlock.core.heap import Tracing
from airlock.gateway.authorize import Engine
from airlock.identity.tokens import CACHE_TOKENS, Verifier
from airlock.policy.bundle import Bundle
from airlock.policy.cache import DecisionCache
from airlock.policy.embedded import EmbeddedEngine
from tests.gateway.parts import HandClock

PROVED = b'package airlock\n\nimport rego.v1\n\ndefault allow := false\n\nallow if input.action == "call"\n'
DOUBTED = PROVED.replace(b"input.action", b"input[data.name]")


def engine(source: bytes) -> EmbeddedEngine:
    return EmbeddedEngine(Bundle.of({"a.rego": source}, origin="test"))


def insight(verifier: Verifier, deciding: Engine, clock: HandClock) -> Insight:
    return Insight(
        engine=lambda: deciding,
        verifier=verifier,
        hand_over=metrics.hand_over,
        peers=Peers(),
        clock=clock,
    )


def test_a_policy_that_cannot_be_remembered_says_why() -> None:
    told = remembering(engine(DOUBTED))
    assert told["state"] == "impossible"
    assert "a.rego:7" in told["why"][0]


def test_a_cache_that_is_off_says_why() -> None:
    assert remembering(engine(PROVED)) == {"state": "off", "why": ["policy.cache_ttl is 0"], "held": 0}


def test_a_cache_says_how_full_it_is() -> None:
    embedded = engine(PROVED)
    cache = DecisionCache(embedded, paths=embedded.footprint.paths, ttl=60, size=5)
    cache.decide(b'{"action":"call","subject":{"tenant":"acme"}}')
    assert remembering(cache) == {"state": "on", "why": [], "held": 1, "size": 5, "ttl_s": 60}
    told = insight(Verifier(issuers=()), cache, HandClock()).remembering()
    assert told == {"state": "on", "why": []}


def test_tokens_are_counted_by_what_was_remembered() -> None:
    clock, verifier = HandClock(), Verifier(issuers=())
    asked = insight(verifier, engine(PROVED), clock)
    verifier.asked, verifier.missed = 10, 3
    told = asyncio.run(asked.caches())["tokens"]
    assert (told["state"], told["held"], told["size"]) == ("on", 0, CACHE_TOKENS)
    assert told["recent"]["5m"] == {"hits": 7, "misses": 3}
    clock.seconds += 400
    verifier.asked = 12
    told = asyncio.run(asked.caches())["tokens"]
    assert told["recent"]["5m"] == {"hits": 2, "misses": 0}
    assert told["recent"]["1h"] == {"hits": 9, "misses": 3}


def test_decisions_are_counted_by_what_was_remembered() -> None:
    asked = insight(Verifier(issuers=()), engine(PROVED), HandClock())

    def recent() -> dict[str, int]:
        return asyncio.run(asked.caches())["policy_decisions"]["recent"]["1h"]

    before = recent()
    for hit in (True, True, False):
        metrics.decision_cached(hit)
    after = recent()
    assert {word: after[word] - before[word] for word in after} == {"hits": 2, "misses": 1}


def test_every_stage_says_what_it_took_lately() -> None:
    asked = insight(Verifier(issuers=()), engine(PROVED), HandClock())

    def count() -> int:
        return sum(times for _, times in asyncio.run(asked.latency())["upstream"]["1h"])

    before = count()
    metrics.UPSTREAM.note(0.2)
    assert count() == before + 1
    assert set(asyncio.run(asked.latency())) == {took.stage for took in metrics.STAGES}


def test_a_running_worker_counts_and_ends_tracing_by_itself() -> None:
    clock, verifier, ticks = HandClock(), Verifier(issuers=()), list[float]()

    class Ticked(Tracing):
        def tick(self) -> None:
            ticks.append(clock.seconds)

    asked = insight(verifier, engine(PROVED), clock)
    asked.tracing = Ticked(clock)
    verifier.asked = 5

    async def scenario() -> None:
        running = asyncio.create_task(asked.run())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert len(ticks) == 1
    assert asyncio.run(asked.caches())["tokens"]["recent"]["1m"] == {"hits": 5, "misses": 0}
