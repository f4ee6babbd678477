"""The trial of a bundle, in a process of its own that may crash, hang or be killed.

Nothing can interrupt the engine inside a worker, so whatever a policy can do to a process it does here first:
it is compiled, checked, and evaluated on the worst questions that its own text suggests. Reads the bundle
from standard input (`Bundle.to_bytes`), writes a Verdict as JSON. Times are CPU times of the evaluation,
so that a busy machine refuses no policy.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airlock.core.errors import PolicyFault
from airlock.policy.bundle import Bundle
from airlock.policy.embedded import EmbeddedEngine, compile_bundle
from airlock.policy.footprint import Footprint
from airlock.policy.input import encode
from airlock.policy.lint import lint
from airlock.policy.problem import PolicyRejected, Problem
from airlock.policy.sample import SAMPLE
from airlock.policy.syntax import read_modules, references

if TYPE_CHECKING:
    from collections.abc import Iterator

P99_LIMIT_MS = 5.0
MAX_LIMIT_MS = 50.0
MEMORY = 2 * 1024 * 1024 * 1024
"""Address space of the trial; the engine aborts when it cannot get more."""

REPEAT = 25
LARGE = 32 * 1024
"""Bytes of a large argument; the edge allows more, but then reading it dominates and not the policy."""

SENSITIVITIES: tuple[Literal["low", "medium", "high", "critical"], ...] = (
    "low",
    "medium",
    "high",
    "critical",
)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`findings` forbid the use of the bundle, `warnings` do not. Times in milliseconds. `footprint` is None
    where there is no engine."""

    findings: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    runs: int = 0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    footprint: Footprint | None = None


def judge(bundle: Bundle) -> Verdict:
    """Check and measure in this process."""
    try:
        warnings = lint(bundle)
        engine = EmbeddedEngine(bundle)
    except PolicyRejected as error:
        return Verdict(findings=error.findings)
    questions = list(worst_questions(argument_names(bundle)))
    times = sorted(_cpu_ms(engine, question) for question in questions for _ in range(REPEAT))
    p99, longest = times[int(len(times) * 0.99)], times[-1]
    findings: list[Problem] = []
    if p99 > P99_LIMIT_MS or longest > MAX_LIMIT_MS:
        limits = f"limits {P99_LIMIT_MS:g} and {MAX_LIMIT_MS:g} ms"
        message = f"too slow: p99 {p99:.1f} ms, longest {longest:.1f} ms ({limits})"
        findings.append(Problem(file=bundle.origin, message=message))
    return Verdict(
        findings=tuple(findings),
        warnings=tuple(warnings),
        runs=len(times),
        p99_ms=p99,
        max_ms=longest,
        footprint=engine.footprint,
    )


def argument_names(bundle: Bundle) -> list[str]:
    """The arguments that the policy names, since only those can make it work hard."""
    names = {
        path[2]
        for module in read_modules(compile_bundle(bundle))
        for rule in module.rules
        for path, _ in references(rule.node)
        if path[:2] == ("input", "arguments") and len(path) > 2 and path[2]
    }
    return sorted(names)[:64] or ["value"]


def worst_questions(names: list[str]) -> Iterator[bytes]:
    """Every kind of caller with nothing to read, then with large and odd arguments."""
    roles = tuple(f"role-{number}" for number in range(200))
    for sensitivity in SENSITIVITIES:
        for phase in ("list", "call"):
            for held in ((), ("viewer",), ("developer",), ("admin",), roles):
                yield _question(phase, sensitivity, held, {})
    for value in _heavy_values():
        yield _question("call", "medium", (*roles, "developer"), dict.fromkeys(names, value))
    yield _question("call", "medium", ("developer",), {f"name-{number}": number for number in range(2000)})


def _heavy_values() -> Iterator[Any]:
    yield "a" * LARGE
    yield "/".join(["a"] * (LARGE // 2))
    yield "../" * (LARGE // 3)
    yield ["a"] * (LARGE // 4)
    yield [f"/srv/docs/{number}" for number in range(LARGE // 32)]
    yield {f"key-{number}": {"value": number} for number in range(LARGE // 32)}
    deep: Any = []
    for _ in range(64):
        deep = [deep]
    yield deep


def _question(
    phase: Literal["list", "call"], sensitivity: Any, roles: tuple[str, ...], arguments: dict[str, Any]
) -> bytes:
    replace = msgspec.structs.replace
    subject = replace(SAMPLE.subject, roles=roles)
    target = replace(SAMPLE.target, sensitivity=sensitivity)
    return encode(replace(SAMPLE, phase=phase, subject=subject, target=target, arguments=arguments))


def _cpu_ms(engine: EmbeddedEngine, question: bytes) -> float:
    """A fault denies and is an answer: what counts here is how long it took."""
    started = time.thread_time()
    with contextlib.suppress(PolicyFault):
        engine.decide(question)
    return (time.thread_time() - started) * 1000


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    verdict = judge(Bundle.from_bytes(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()
