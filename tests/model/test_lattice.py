"""Leases only tighten: in any order, any number of times, and what stays is the join of the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from airlock.core.units import Rate
from airlock.model.lattice import LATTICE, RISKS, Settings, join, join_all

CASES = 12_000
"""Random triples of settings; the laws are checked for each of them."""

Draw = Callable[[random.Random], Any]
Tight = Callable[[Any, Any], bool]


def member_of(*words: str) -> Draw:
    return lambda dice: frozenset(word for word in words if dice.random() < 0.5)


def one_of(*words: str) -> Draw:
    return lambda dice: dice.choice(words)


def number(dice: random.Random) -> int:
    return dice.randrange(6)


def rate(dice: random.Random) -> Rate:
    return Rate(dice.choice((0, 1, 10, 60, 600)), dice.choice((1, 60, 3600)))


def by_risk(dice: random.Random) -> dict[str, str]:
    return {risk: dice.choice(("open", "closed")) for risk in RISKS if dice.random() < 0.5}


def flag(dice: random.Random) -> bool:
    return dice.random() < 0.5


def on_scale(*words: str) -> Tight:
    return lambda one, other: words.index(one) >= words.index(other)


def closed(one: dict[str, str], other: dict[str, str]) -> bool:
    return all(one.get(risk) == "closed" for risk, word in other.items() if word == "closed")


def slower(one: Rate, other: Rate) -> bool:
    return one.count * other.seconds <= other.count * one.seconds


NETWORKS = member_of("192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32")
WORDS = member_of("a", "b", "c")
NUMBERS: tuple[Draw, Tight] = (number, lambda one, other: one <= other)
FLAGS: tuple[Draw, Tight] = (flag, lambda one, other: one or not other)
RATES: tuple[Draw, Tight] = (rate, slower)
SETS: tuple[Draw, Tight] = (WORDS, lambda one, other: one >= other)

EVERY: dict[str, tuple[Draw, Tight]] = {
    "rate.per_token": RATES,
    "rate.per_ip": RATES,
    "rate.per_tenant": RATES,
    "rate.global": RATES,
    "burst": NUMBERS,
    "block.ips": (NETWORKS, lambda one, other: one >= other),
    "suspend.subjects": SETS,
    "terminate.sessions": SETS,
    "revoke.tokens": SETS,
    "isolate.tenants": SETS,
    "server.status": (one_of("active", "inactive"), on_scale("active", "inactive")),
    "server.cut": (one_of("drain", "cut"), on_scale("drain", "cut")),
    "quarantine.tools": SETS,
    "deny.overlay": SETS,
    "stepup.selectors": SETS,
    "stepup.max_age": NUMBERS,
    "approvals.required": (lambda dice: dice.randrange(3), lambda one, other: one >= other),
    "egress.allow": (WORDS, lambda one, other: one <= other),
    "egress.max_bytes": NUMBERS,
    "result.max_bytes": NUMBERS,
    "token.max_age": NUMBERS,
    "session.max_age": NUMBERS,
    "decision_cache.max_age": NUMBERS,
    "redaction.patterns": SETS,
    "redaction.mode": (one_of("mask", "drop", "block"), on_scale("mask", "drop", "block")),
    "fail_mode": (by_risk, closed),
    "policy.frozen": FLAGS,
    "admin.frozen": FLAGS,
    "audit_all_requests": FLAGS,
    "monitoring.enhanced": FLAGS,
    "log.level": (one_of("error", "warn", "info", "debug"), on_scale("error", "warn", "info", "debug")),
}
"""For each setting values at random, and whether one value is at least as tight as another: said here once
more, so that the table of joins is not its own judge."""


def settings(dice: random.Random) -> Settings:
    chosen = dice.sample(sorted(EVERY), 6)
    return {setting: EVERY[setting][0](dice) for setting in chosen}


def triples() -> list[tuple[Settings, Settings, Settings]]:
    dice = random.Random("leases only tighten")  # noqa: S311 - the same cases in every run
    return [(settings(dice), settings(dice), settings(dice)) for _ in range(CASES)]


TRIPLES = triples()


def test_every_setting_of_the_table_is_tried() -> None:
    assert EVERY.keys() == LATTICE.keys()
    assert {setting for triple in TRIPLES for one in triple for setting in one} == set(LATTICE)


def test_the_order_does_not_matter() -> None:
    assert all(join(one, other) == join(other, one) for one, other, _ in TRIPLES)


def test_the_grouping_does_not_matter() -> None:
    assert all(join(join(one, two), three) == join(one, join(two, three)) for one, two, three in TRIPLES)


def test_a_repetition_changes_nothing() -> None:
    assert all(join(one, one) == one for one, _, _ in TRIPLES)
    assert all(join(join(one, two), two) == join(one, two) for one, two, _ in TRIPLES)


def test_adding_never_loosens() -> None:
    for one, two, _ in TRIPLES:
        both = join(one, two)
        assert all(EVERY[setting][1](both[setting], value) for setting, value in one.items()), (one, two)


def test_what_stays_after_a_release_is_the_join_of_the_rest_in_any_order() -> None:
    dice = random.Random("releases")  # noqa: S311 - the same cases in every run
    for triple in TRIPLES:
        rest = [one for one in triple if one is not triple[1]]
        shuffled = rest * 2
        dice.shuffle(shuffled)
        assert join_all(shuffled) == join_all(rest)


def test_nothing_is_the_loosest() -> None:
    assert join_all([]) == {}
    assert all(join({}, one) == one == join(one, {}) for one, _, _ in TRIPLES[:100])


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Rate(10, 60), Rate(200, 60), Rate(10, 60)),
        (Rate(1, 1), Rate(10, 60), Rate(10, 60)),
        (Rate(60, 60), Rate(1, 1), Rate(1, 1)),
        (Rate(0, 86400), Rate(1, 86400), Rate(0, 86400)),
    ],
)
def test_of_two_rates_the_slower_holds(one: Rate, other: Rate, both: Rate) -> None:
    assert LATTICE["rate.per_ip"](one, other) == both
