"""Decisions in process: whatever goes wrong denies, and the next question is answered again (XE-6)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import PolicyFault
from airlock.policy.bundle import Bundle
from airlock.policy.embedded import EmbeddedEngine, compile_bundle
from airlock.policy.input import encode
from airlock.policy.problem import PolicyRejected
from airlock.policy.rego import Rego
from airlock.policy.sample import SAMPLE, complete
from tests.policy.policies import bundle, partial_questions, question, shipped

FRAGILE = bundle('decision := {"allow": true, "reason": upper(input.arguments.x)}')
CALM = encode(complete({"subject": {"roles": ["viewer"]}}))


class Time:
    """A monotonic clock that goes on by a fixed step with each reading."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._now = 0.0

    def wall(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        self._now += self._step
        return self._now


class Trap:
    """An engine that raises what it is told to, then works: a fake of the engine at its seam."""

    def __init__(self, real: Rego, errors: list[BaseException]) -> None:
        self._real = real
        self._errors = errors

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def clone(self) -> Rego:
        return Trap(self._real.clone(), self._errors)  # pyright: ignore[reportReturnType] (by __getattr__)

    def eval_rule_as_json(self, rule: str, /) -> str:
        if self._errors:
            raise self._errors.pop()
        return self._real.eval_rule_as_json(rule)


def trapped(*errors: BaseException) -> tuple[EmbeddedEngine, list[int]]:
    """The starter policy with an engine that raises the errors one by one; and how often it was compiled."""
    pending = list(reversed(errors))
    compiled: list[int] = []

    def compile_trap(policy: Bundle) -> Rego:
        compiled.append(1)
        return Trap(compile_bundle(policy), pending)  # pyright: ignore[reportReturnType] (by __getattr__)

    return EmbeddedEngine(shipped("starter"), compiled=compile_trap), compiled


def real_panic() -> BaseException:
    """The exception that the engine raises when another thread uses it."""
    engine = compile_bundle(shipped("starter"))
    caught: list[BaseException] = []

    def misuse() -> None:
        try:
            engine.set_input_json("{}")
        except BaseException as error:  # noqa: BLE001 (a panic is no Exception)
            caught.append(error.with_traceback(None))

    thread = threading.Thread(target=misuse)
    thread.start()
    thread.join()
    return caught[0]


def fault(act: Callable[[], object]) -> PolicyFault:
    with pytest.raises(PolicyFault) as caught:
        act()
    return caught.value


def test_a_decision_names_its_reason_rule_and_revision() -> None:
    engine = EmbeddedEngine(shipped("starter"))
    decision = engine.decide(CALM)
    assert (decision.allow, decision.reason, decision.rule) == (True, "role_viewer", "starter.viewer")
    assert decision.revision == engine.revision == shipped("starter").revision


def test_a_question_may_come_as_a_struct_or_as_its_bytes() -> None:
    engine = EmbeddedEngine(shipped("starter"))
    assert engine.decide(SAMPLE) == engine.decide(encode(SAMPLE))


@pytest.mark.parametrize("asked", [b"", b"[", b"\xff", b"[" * 200 + b"]" * 200, b'{"x": 1e999}'])
def test_what_the_engine_cannot_read_is_a_policy_error(asked: bytes) -> None:
    engine = EmbeddedEngine(shipped("starter"))
    assert fault(lambda: engine.decide(asked)).reason == "policy_error"
    assert engine.decide(CALM).allow


def test_a_lone_surrogate_is_a_policy_error() -> None:
    engine = EmbeddedEngine(shipped("starter"))
    assert fault(lambda: engine.decide(complete({"arguments": {"x": "\ud800"}}))).reason == "policy_error"


def test_an_error_while_evaluating_is_a_policy_error_without_a_stack_trace() -> None:
    error = fault(lambda: EmbeddedEngine(FRAGILE).decide(complete({"arguments": {"x": 3}})))
    assert error.reason == "policy_error"
    assert error.detail == "a.rego:2:60: `upper` expects string argument. Got `3` instead"
    assert "3" not in error.text


def test_conflicting_rules_are_a_policy_error() -> None:
    engine = EmbeddedEngine(bundle("allow := true if input.v == 1\nallow := false if input.action"))
    assert fault(lambda: engine.decide(b'{"v": 1, "action": "x"}')).reason == "policy_error"


def test_another_thread_is_refused_before_it_reaches_the_engine() -> None:
    engine = EmbeddedEngine(shipped("starter"))
    caught: list[str] = []

    def ask() -> None:
        try:
            engine.decide(CALM)
        except PolicyFault as error:
            caught.append(f"{error.reason}: {error.detail}")

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert caught == ["policy_error: the engine belongs to another thread"]
    assert engine.decide(CALM).allow


def test_a_panic_denies_and_the_next_question_gets_a_new_engine() -> None:
    engine, compiled = trapped(real_panic())
    error = fault(lambda: engine.decide(CALM))
    assert error.reason == "policy_error"
    assert error.detail.startswith("the engine panicked: ")
    assert engine.decide(CALM).allow
    assert len(compiled) == 2


def test_an_error_costs_a_clone_and_no_compilation() -> None:
    engine, compiled = trapped(RuntimeError("x"))
    assert fault(lambda: engine.decide(CALM)).detail == "data.airlock.decision: x"
    assert engine.decide(CALM).allow
    assert len(compiled) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_what_is_not_the_engines_own_goes_through(kind: type[BaseException]) -> None:
    engine, _ = trapped(kind())
    with pytest.raises(kind):
        engine.decide(CALM)
    assert engine.decide(CALM).allow


@pytest.mark.parametrize("why", ["rejected", "panic", "interrupt"])
def test_an_engine_that_cannot_be_restarted_denies(why: str) -> None:
    pending: list[BaseException] = [real_panic()]
    broken: list[BaseException] = []

    def compile_once(policy: Bundle) -> Rego:
        if broken:
            raise broken.pop()
        return Trap(compile_bundle(policy), pending)  # pyright: ignore[reportReturnType] (by __getattr__)

    engine = EmbeddedEngine(shipped("starter"), compiled=compile_once)
    fault(lambda: engine.decide(CALM))
    errors = {"rejected": ValueError("no"), "panic": real_panic(), "interrupt": KeyboardInterrupt()}
    broken.append(errors[why])
    if why == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            engine.decide(CALM)
    else:
        assert fault(lambda: engine.decide(CALM)).detail.startswith("the engine cannot be restarted: ")
    assert engine.decide(CALM).allow


def test_an_engine_that_panics_whatever_it_is_asked_is_in_trouble_until_it_answers() -> None:
    engine, _ = trapped(real_panic(), real_panic())
    assert [engine.trouble() for _ in range(2)] != ["", ""]
    assert engine.trouble() == ""


@pytest.mark.parametrize("policy", [FRAGILE, shipped("starter")])
def test_a_policy_without_an_answer_to_the_empty_question_is_no_trouble(policy: Bundle) -> None:
    engine = EmbeddedEngine(policy)
    assert engine.trouble() == ""


def test_a_slow_evaluation_is_reported() -> None:
    reported: list[float] = []
    EmbeddedEngine(shipped("starter"), clock=Time(0.006), on_slow=reported.append).decide(CALM)
    assert reported == [pytest.approx(0.006)]
    EmbeddedEngine(shipped("starter"), clock=Time(0.004), on_slow=reported.append).decide(CALM)
    EmbeddedEngine(shipped("starter"), clock=Time(0.006)).decide(CALM)
    assert len(reported) == 1


@pytest.mark.parametrize("text", ["x := 1", "allow if {", "decision contains 1"])
def test_a_policy_that_cannot_answer_makes_no_engine(text: str) -> None:
    with pytest.raises(PolicyRejected):
        EmbeddedEngine(bundle(text))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(partial_questions, st.sampled_from([b"", b"[]", b"{}"])), max_size=6))
def test_what_went_before_never_changes_an_answer(asked: list[dict[str, object] | bytes]) -> None:
    used, policy = EmbeddedEngine(shipped("examples")), shipped("examples")
    for entry in asked:
        text = entry if isinstance(entry, bytes) else encode(question(entry))
        answers: list[object] = []
        for engine in (used, EmbeddedEngine(policy)):
            try:
                answers.append(engine.decide(text))
            except PolicyFault as error:
                answers.append(error.reason)
        assert answers[0] == answers[1]
