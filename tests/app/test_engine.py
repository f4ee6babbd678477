"""Which engine a worker asks: one with a cache in front where that is proved to change nothing."""

from __future__ import annotations

from airlock.app.gateway import engine
from airlock.core import log as logs
from airlock.core import metrics
from airlock.core.config import PolicySection
from airlock.gateway.authorize import Engine
from airlock.policy.bundle import Bundle
from airlock.policy.cache import DecisionCache
from airlock.policy.embedded import EmbeddedEngine
from airlock.policy.input import encode
from airlock.policy.sample import complete
from tests.gateway.parts import HandClock
from tests.policy.policies import bundle, shipped


def made(policy: Bundle, **section: float) -> Engine:
    settings = PolicySection(**section)  # pyright: ignore[reportArgumentType] (sizes are whole here)
    return engine(policy, settings, clock=HandClock(), log=logs.get("gateway"))


def counted(name: str) -> float:
    """The value of one counter of this process."""
    lines = metrics.exposition().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_a_proved_policy_is_asked_through_a_cache_that_counts() -> None:
    names = ("airlock_policy_cache_hits_total", "airlock_policy_cache_misses_total")
    before = [counted(name) for name in names]
    asked = made(shipped("starter"))
    assert isinstance(asked, DecisionCache)
    for _ in range(3):
        asked.decide(encode(complete({})))
    assert [counted(name) - was for name, was in zip(names, before, strict=True)] == [2, 1]


def test_a_policy_that_is_not_proved_is_always_asked() -> None:
    assert isinstance(made(bundle("allow if input.arguments[input.action]")), EmbeddedEngine)


def test_without_a_time_to_remember_every_question_is_asked() -> None:
    assert isinstance(made(shipped("starter"), cache_ttl=0), EmbeddedEngine)


def test_time_and_size_are_those_of_the_configuration() -> None:
    clock = HandClock()
    settings = PolicySection(cache_ttl=5.0, cache_size=1)
    asked = engine(shipped("starter"), settings, clock=clock, log=logs.get("gateway"))
    one, other = (encode(complete({"action": action})) for action in ("a", "b"))
    first = asked.decide(one)
    assert asked.decide(one) is first
    asked.decide(other)
    second = asked.decide(one)
    assert second is not first
    clock.seconds += 5.0
    assert asked.decide(one) is not second
