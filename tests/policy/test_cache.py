"""The decision cache answers as the engine would, or lets the engine answer."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import PolicyFault
from airlock.model.decision import Decision, PolicyInput
from airlock.policy.bundle import Bundle
from airlock.policy.cache import DecisionCache
from airlock.policy.embedded import EmbeddedEngine
from airlock.policy.facts import TENANT
from airlock.policy.footprint import Names
from airlock.policy.input import encode
from airlock.policy.sample import complete
from tests.policy.policies import NAMES, PATHS, SHIPPED, bundle, partial_questions, question, shipped

Answer = Decision | str


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return self.now


class Pair:
    """A policy behind a cache, and the same policy without one. `asked` is True for every hit."""

    def __init__(
        self, policy: Bundle, *, without: Names | None = None, size: int = 1000, ttl: float = 60.0
    ) -> None:
        engine = EmbeddedEngine(policy)
        assert engine.footprint.doubts == ()
        self.paths = engine.footprint.paths
        self.time = Time()
        self.asked: list[bool] = []
        self.cache = DecisionCache(
            engine,
            paths=[path for path in self.paths if path != without],
            ttl=ttl,
            size=size,
            clock=self.time,
            counted=self.asked.append,
        )
        self.engine = EmbeddedEngine(policy)

    def answers(self, asked: PolicyInput | bytes) -> tuple[Answer, Answer]:
        text = asked if isinstance(asked, bytes) else encode(asked)
        return answer(self.cache, text), answer(self.engine, text)


def answer(engine: DecisionCache | EmbeddedEngine, text: bytes) -> Answer:
    try:
        return engine.decide(text)
    except PolicyFault as fault:
        return fault.reason


def ask(pair: Pair, **partial: Any) -> Answer:
    cached, uncached = pair.answers(complete(partial))
    assert cached == uncached
    return cached


SHIPPED_PAIRS = {name: Pair(shipped(name)) for name in SHIPPED}


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=300, deadline=None)
@given(partial=partial_questions)
def test_a_shipped_policy_answers_the_same_with_and_without_a_cache(
    name: str, partial: dict[str, Any]
) -> None:
    cached, uncached = SHIPPED_PAIRS[name].answers(question(partial))
    assert cached == uncached


CONDITIONS = [
    'input.target.sensitivity == "low"',
    '"admin" in input.subject.roles',
    "input.arguments.path == 1",
    "input.arguments.path",
    "is_number(input.arguments.head)",
    "input.arguments.path == input.arguments.file",
    'startswith(input.arguments.path, "public")',
    "{ some name, value in input.arguments; value == true; name }",
    "count(input.arguments) > 1",
    "input.context.time.hour < 12",
    '{ when := input.context.time; when.weekday in {"sat", "sun"} }',
    "{ who := input.subject; count(who.roles) == 1 }",
    "count({role | some role in input.subject.roles; role in data.known}) > 0",
    'object.get(input.arguments, "path", "public") == "public"',
    "every role in input.subject.roles { role in data.known }",
    "named(aim.name, input.phase)",
    "data.limits[input.target.server] > count(input.subject.roles)",
    "input.arguments.path.path",
]
LIBRARY = """
import input.target as aim
named(name, phase) if { startswith(name, "read"); phase == "call" }
named(name, _) if name == "search"
"""
DATA = b'{"known": ["admin", "viewer"], "limits": {"files": 1, "docs": 2}}'


def generated(conditions: Sequence[str], negated: Sequence[bool], allowed: Sequence[bool]) -> Bundle:
    """A policy of one rule per condition; the first that holds, or does not where `negated`, answers."""
    rules = [f"c{number} if {text}" for number, text in enumerate(conditions)]
    branches = [
        f'{{"allow": {str(allow).lower()}, "reason": "r{number}"}} if {"not " * negate}c{number}'
        for number, (negate, allow) in enumerate(zip(negated, allowed, strict=True))
    ]
    branches.append('{"allow": false, "reason": "none"}')
    text = "\n".join([LIBRARY, *rules, "decision := " + " else := ".join(branches)])
    return bundle(text, data_json=DATA)


@st.composite
def policies(draw: st.DrawFn) -> Bundle:
    conditions = draw(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=4, unique=True))
    flags = st.lists(st.booleans(), min_size=len(conditions), max_size=len(conditions))
    return generated(conditions, draw(flags), draw(flags))


@settings(max_examples=80, deadline=None)
@given(policy=policies(), asked=st.lists(partial_questions, min_size=1, max_size=12))
def test_a_generated_policy_answers_the_same_with_and_without_a_cache(
    policy: Bundle, asked: list[dict[str, Any]]
) -> None:
    pair = Pair(policy)
    for partial in [*asked, *asked]:
        cached, uncached = pair.answers(question(partial))
        assert cached == uncached


def questions(dice: random.Random) -> Iterator[dict[str, Any]]:
    """Questions without end, over few values."""
    paths = [*PATHS[:6], 1, True, {"path": "public"}]
    while True:
        asked = question(
            {
                "phase": dice.choice(["call", "call", "list"]),
                "action": dice.choice(["tools/call", "admin:servers.update"]),
                "subject": {
                    "tenant": "acme",
                    "roles": dice.choice([["contractor"], ["viewer"], ["developer", "guest"], ["admin"], []]),
                },
                "target": {
                    "server": dice.choice(["files", "docs", "other"]),
                    "name": dice.choice(NAMES),
                    "tenant": dice.choice(["", "acme", "globex"]),
                    "sensitivity": dice.choice(["low", "medium", "high"]),
                    "read_only": dice.choice([True, False]),
                    "approved": dice.choice([True, True, False]),
                },
                "arguments": {
                    name: dice.choice(paths)
                    for name in ("path", "file", "head", "zeal")
                    if dice.randrange(3) == 0
                },
                "context": {
                    "time": {"hour": dice.choice([9, 9, 9, 20]), "weekday": dice.choice(["mon", "sat"])}
                },
            }
        )
        yield msgspec.to_builtins(asked)


def changed(asked: dict[str, Any], other: dict[str, Any], path: Names) -> bytes:
    """The question with this one part taken from the other."""
    copy = msgspec.json.decode(msgspec.json.encode(asked))
    *sections, name = path
    into, source = copy, other
    for section in sections:
        into, source = into[section], source[section]
    into.pop(name, None)
    if name in source:
        into[name] = source[name]
    return msgspec.json.encode(copy)


def mutants() -> Iterable[tuple[str, Bundle, Names]]:
    """Every policy with every part of its footprint, beside the tenant, which every key has anyway."""
    named = {name: shipped(name) for name in SHIPPED}
    named |= {text: generated([text], [False], [True]) for text in CONDITIONS}
    for name, policy in named.items():
        footprint = EmbeddedEngine(policy).footprint
        for path in footprint.paths:
            if path != TENANT:
                yield f"{name} without {'.'.join(path)}", policy, path


@pytest.mark.parametrize(("policy", "path"), [pytest.param(p, d, id=n) for n, p, d in mutants()])
def test_a_footprint_that_lacks_one_part_is_caught(policy: Bundle, path: Names) -> None:
    pair = Pair(policy, without=path)
    some = questions(random.Random(7))  # noqa: S311 (no secret)
    differing = (
        cached != uncached
        for base, other in itertools.islice(zip(some, some, strict=False), 5000)
        for text in (msgspec.json.encode(base), changed(base, other, path))
        for cached, uncached in [pair.answers(text)]
    )
    assert any(differing)


def test_facts_that_policy_does_not_read_share_an_answer() -> None:
    pair = Pair(shipped("starter"))
    first = ask(pair, subject={"id": "a", "roles": ["viewer"]}, arguments={"path": "x"})
    second = ask(pair, subject={"id": "b", "roles": ["viewer"]}, arguments={"path": "y"})
    assert first is second
    assert pair.asked == [False, True]


def test_tenants_share_no_answer() -> None:
    pair = Pair(bundle("allow := true"))
    for tenant in ("acme", "globex", "acme"):
        ask(pair, subject={"tenant": tenant})
    assert pair.asked == [False, False, True]


def test_revisions_share_no_answer() -> None:
    pairs = [Pair(bundle(f"allow if input.action # {number}\n")) for number in (1, 2)]
    decisions = [ask(pair) for pair in pairs]
    assert [pair.cache.revision for pair in pairs] == [
        found.revision for found in decisions if isinstance(found, Decision)
    ]
    assert pairs[0].cache.revision != pairs[1].cache.revision
    assert [pair.asked for pair in pairs] == [[False], [False]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        ("1", 1),
        (None, "null"),
        ([], {}),
        ({"a": 1}, {"a": True}),
        (0.0, -0.0),
    ],
)
def test_values_that_json_tells_apart_are_told_apart(one: object, other: object) -> None:
    pair = Pair(
        bundle('decision := {"allow": input.arguments.x == 1, "reason": type_name(input.arguments.x)}')
    )
    for value in (one, other):
        ask(pair, arguments={"x": value})
    assert pair.asked == [False, False]


def test_an_argument_that_is_missing_is_not_one_that_is_null() -> None:
    pair = Pair(bundle("allow := false if input.arguments.x == null else := true"))
    answers = [ask(pair, arguments=given) for given in ({}, {"x": None}, {})]
    assert [found.allow for found in answers if isinstance(found, Decision)] == [True, False, True]


@pytest.mark.parametrize("name", ["a b", "f0", "class", "\u00fcber", "", 'quo"te', "back\\slash", "\t"])
def test_an_argument_may_have_any_name(name: str) -> None:
    escaped = json.dumps(name)
    pair = Pair(
        bundle(f"allow if input.arguments[{escaped}] == 1\nallow := false if input.arguments[{escaped}] == 2")
    )
    answers = [ask(pair, arguments={name: value}) for value in (1, 2, 1, 2)]
    assert [found.allow for found in answers if isinstance(found, Decision)] == [True, False, True, False]
    assert pair.asked == [False, False, True, True]


def test_a_policy_that_reads_the_hour_is_asked_again_when_it_changes() -> None:
    pair = Pair(bundle("allow := input.context.time.hour < 12"))
    for hour, minute in ((11, 58), (11, 59), (12, 0), (12, 1)):
        ask(pair, context={"time": {"hour": hour, "minute": minute}})
    assert pair.asked == [False, True, False, True]


def test_an_answer_is_forgotten_after_its_time() -> None:
    pair = Pair(shipped("starter"), ttl=10.0)
    for now in (0.0, 9.9, 10.0, 19.9, 20.0):
        pair.time.now = now
        ask(pair)
    assert pair.asked == [False, True, False, True, False]


def test_the_answer_that_was_not_used_for_longest_goes_first() -> None:
    pair = Pair(shipped("starter"), size=2)
    for action in ("a", "b", "a", "c", "a", "b"):
        ask(pair, action=action)
    assert pair.asked == [False, False, True, False, True, False]


def test_a_fault_is_not_remembered() -> None:
    pair = Pair(bundle('decision := {"allow": true, "reason": upper(input.arguments.x)}'))
    assert [ask(pair, arguments={"x": 3}) for _ in range(2)] == ["policy_error"] * 2
    assert pair.asked == [False, False]


class Troubled(EmbeddedEngine):
    """An engine in the trouble that a test says."""

    said = ""

    def trouble(self) -> str:
        return self.said


def test_nothing_is_remembered_of_an_engine_in_trouble() -> None:
    hits: list[bool] = []
    engine = Troubled(shipped("starter"))
    cache = DecisionCache(engine, paths=engine.footprint.paths, ttl=60.0, size=9, counted=hits.append)
    asked = encode(complete({}))
    for engine.said in ("", "", "it panics", ""):
        assert cache.trouble() == engine.said
        cache.decide(asked)
    assert hits == [False, True, False, True]


DEEP = b'{"arguments": {"unread": %s}}'


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"action": "\xff"}',
        b'{"subject": 3}',
        b'{"subject": {"roles": "admin"}, "target": null}',
        DEEP % (b"[" * 40 + b"]" * 40),
        DEEP % (b"[" * 126 + b"]" * 126),
        DEEP % (b"[" * 1000 + b"]" * 1000),
        DEEP % str(2**70).encode(),
        DEEP % b"1e300",
    ],
)
def test_an_odd_question_is_answered_as_by_the_engine(asked: bytes) -> None:
    pair = Pair(shipped("starter"))
    for _ in range(2):
        cached, uncached = pair.answers(asked)
        assert cached == uncached


def test_without_a_listener_it_answers_as_well() -> None:
    engine = EmbeddedEngine(shipped("starter"))
    cache = DecisionCache(engine, paths=engine.footprint.paths, ttl=1.0, size=1)
    assert cache.decide(encode(complete({}))) is cache.decide(encode(complete({})))
