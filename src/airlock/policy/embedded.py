"""Decisions from the Rego engine in this process.

`decide` either answers or raises PolicyFault, which denies: engine errors, panics and use from another
thread are `policy_error`, whatever is no proper answer is `policy_invalid`. An engine that failed is not
used again. `airlock.policy.cache` has the same members, `revision`, `facts`, `decide` and `trouble`, and
stands in front.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from airlock.core.clock import SYSTEM, Clock
from airlock.core.errors import PolicyFault
from airlock.model.decision import PolicyInput
from airlock.policy.answer import read_answer
from airlock.policy.facts import Facts
from airlock.policy.footprint import Footprint, prove
from airlock.policy.input import encode
from airlock.policy.lint import answer_rule, reject_without_answer
from airlock.policy.rego import Rego, compile_modules, describe, is_panic
from airlock.policy.syntax import read_modules

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.model.decision import Decision
    from airlock.policy.bundle import Bundle

SLOW_S = 0.005
"""The 99th percentile that a policy must keep to be promoted; a single slower evaluation is reported."""


def compile_bundle(bundle: Bundle) -> Rego:
    """The engine without tests. Raises ConfigError."""
    return compile_modules(bundle.modules, bundle.data())


class EmbeddedEngine:
    """One engine of one thread: make it in the thread that asks it (a worker's event loop)."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        clock: Clock = SYSTEM,
        on_slow: Callable[[float], None] | None = None,
        compiled: Callable[[Bundle], Rego] = compile_bundle,
    ) -> None:
        """`on_slow` gets the seconds of an evaluation that took more than `SLOW_S`. Raises ConfigError."""
        self._bundle = bundle
        self._clock = clock
        self._on_slow = on_slow
        self._compiled = compiled
        self._thread = threading.get_ident()
        pristine = compiled(bundle)
        modules = read_modules(pristine)
        reject_without_answer(modules)
        self._answer = answer_rule(modules)
        self.footprint: Footprint = prove(modules)
        self.facts = None if self.footprint.doubts else Facts(self.footprint.paths)
        """What of a question can be read; None where nothing is proved."""
        self._rule = f"data.airlock.{self._answer}"
        self._pristine: Rego | None = pristine
        self._engine: Rego | None = pristine.clone()

    @property
    def revision(self) -> str:
        return self._bundle.revision

    def decide(self, question: PolicyInput | bytes) -> Decision:
        """Bytes are what `airlock.policy.input.encode` made. Raises PolicyFault."""
        if threading.get_ident() != self._thread:
            raise PolicyFault("policy_error", "the engine belongs to another thread")
        started = self._clock.monotonic()
        text = self._evaluate(question)
        elapsed = self._clock.monotonic() - started
        if elapsed > SLOW_S and self._on_slow:
            self._on_slow(elapsed)
        return read_answer(text, rule=self._answer, revision=self._bundle.revision)

    def trouble(self) -> str:
        """Why the engine can answer nothing at all; empty where it evaluates. That a policy has no answer to
        the empty question, or an error in it, is none."""
        try:
            self._evaluate(b"{}")
        except PolicyFault as fault:
            return "" if self._pristine is not None else fault.detail
        return ""

    def _evaluate(self, question: PolicyInput | bytes) -> str:
        engine, self._engine = self._engine or self._fresh(), None
        try:
            encoded = encode(question) if isinstance(question, PolicyInput) else question
            engine.set_input_json(encoded.decode())
            text = engine.eval_rule_as_json(self._rule)
        except (RuntimeError, ValueError, TypeError) as error:
            raise PolicyFault("policy_error", str(describe(error, default_file=self._rule))) from error
        except BaseException as error:
            if not is_panic(error):
                raise
            self._pristine = None
            raise PolicyFault("policy_error", f"the engine panicked: {error}") from error
        self._engine = engine
        return text

    def _fresh(self) -> Rego:
        """After an error a copy of the unused engine; after a panic, which may have hit that too, another."""
        try:
            self._pristine = self._pristine or self._compiled(self._bundle)
            return self._pristine.clone()
        except BaseException as error:
            if not isinstance(error, ValueError) and not is_panic(error):
                raise
            self._pristine = None
            raise PolicyFault("policy_error", f"the engine cannot be restarted: {error}") from error
