"""A bundle's own tests: `test_*` rules of its test modules and golden decisions in `*.decisions.jsonl`.

A line of golden decisions is {"name": ..., "input": part of a question, "decision": part of the answer}, or
"fault" with a reason word instead of "decision". The input is laid over `airlock.policy.sample.SAMPLE`; of
the decision only what is given is compared. A bundle without tests fails: nobody knows what it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.core.errors import PolicyFault
from airlock.policy.embedded import EmbeddedEngine
from airlock.policy.rego import Rego, compile_modules, describe
from airlock.policy.sample import complete
from airlock.policy.syntax import read_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airlock.policy.bundle import Bundle


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    __test__ = False  # pytest would take the name for a class of tests

    name: str
    file: str
    line: int
    passed: bool
    detail: str = ""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    tests: tuple[TestResult, ...]

    @property
    def passed(self) -> bool:
        return bool(self.tests) and all(test.passed for test in self.tests)


class _Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    input: dict[str, Any]
    decision: dict[str, Any] | None = None
    fault: str = ""


def run_tests(bundle: Bundle) -> Results:
    """In this process: check the bundle first. Raises PolicyRejected when it does not compile."""
    return Results(tests=(*_rule_tests(bundle), *_golden_tests(bundle)))


def _rule_tests(bundle: Bundle) -> Iterator[TestResult]:
    engine = compile_modules(bundle.modules | bundle.test_modules, bundle.data())
    engine.set_gather_prints(True)
    seen: set[str] = set()
    for module in read_modules(engine):
        if module.file not in bundle.test_modules:
            continue
        for rule in module.rules:
            name = ".".join(("data", *module.package, str(rule.path[0])))
            if str(rule.path[0]).startswith("test_") and name not in seen:
                seen.add(name)
                passed, detail = _run_rule(engine.clone(), name)
                yield TestResult(name=name, file=module.file, line=rule.line, passed=passed, detail=detail)


def _run_rule(engine: Rego, name: str) -> tuple[bool, str]:
    try:
        text = engine.eval_rule_as_json(name)
    except RuntimeError as error:
        return False, str(describe(error, default_file=name))
    passed = text == "true"
    prints = "; ".join(engine.take_prints())
    return passed, "" if passed else f"is {text}" + (f", printed: {prints}" if prints else "")


def _golden_tests(bundle: Bundle) -> Iterator[TestResult]:
    engine = EmbeddedEngine(bundle)
    for file, text in bundle.golden.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                name, detail = _run_golden(engine, line)
                yield TestResult(name=name, file=file, line=number, passed=not detail, detail=detail)


def _run_golden(engine: EmbeddedEngine, line: bytes) -> tuple[str, str]:
    """The name of the test and what is wrong, empty when nothing is."""
    try:
        golden = msgspec.json.decode(line, type=_Golden)
        question = complete(golden.input)
    except ValueError as error:
        return "(unreadable)", str(error)
    if (golden.decision is None) == (not golden.fault):
        return golden.name, "needs exactly one of `decision` and `fault`"
    try:
        answer = msgspec.json.decode(msgspec.json.encode(engine.decide(question)))
    except PolicyFault as fault:
        return golden.name, "" if golden.fault == fault.reason else f"{fault.reason}: {fault.detail}"
    if golden.decision is None:
        return golden.name, f"expected {golden.fault}, got {answer['reason']}"
    return golden.name, "; ".join(_differences(golden.decision, answer, ""))


def _differences(expected: dict[str, Any], answer: Any, path: str) -> Iterator[str]:
    for key, value in expected.items():
        here = f"{path}.{key}" if path else key
        got = cast("dict[str, Any]", answer).get(key) if isinstance(answer, dict) else None
        if isinstance(value, dict):
            yield from _differences(cast("dict[str, Any]", value), got, here)
        elif got != value or type(got) is not type(value):
            yield f"{here} is {_json(got)}, expected {_json(value)}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
