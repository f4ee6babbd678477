"""Why a policy answered as it did, for administrators: the rule, what it looked at, what would change it.

`looked_at` are the parts of `input` that are named on the lines of the policy which the engine evaluated for
this question (its coverage report). A line counts as a whole, and a part reached by a computed key is
shown up to that key. `flip` is the first change of one attribute, from a fixed list, that leads to another
outcome; none found does not mean that there is none.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from airlock.core.errors import PolicyFault
from airlock.model.decision import Decision, PolicyInput
from airlock.policy.embedded import EmbeddedEngine, compile_bundle
from airlock.policy.input import encode
from airlock.policy.lint import answer_rule
from airlock.policy.syntax import Module, read_modules, references, static, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airlock.policy.bundle import Bundle

Outcome = Literal["allow", "approval", "deny", "fault"]
LEVELS: tuple[Literal["low", "medium", "high", "critical"], ...] = ("low", "medium", "high", "critical")

MAX_ROLES = 200
"""Texts of the policy that are tried as a role; each costs one evaluation."""


class LookedAt(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    value: Any
    file: str
    line: int


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """With `path` at `to` instead of `now`, the outcome is `outcome`."""

    path: str
    now: Any
    to: Any
    outcome: Outcome
    reason: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    outcome: Outcome
    reason: str
    rule: str
    detail: str
    """Of a fault: what the engine said."""
    revision: str
    looked_at: tuple[LookedAt, ...]
    flip: Flip | None


def explain(bundle: Bundle, question: PolicyInput) -> Explanation:
    """Evaluates in this process, some hundred times: check the bundle first. Raises ConfigError."""
    engine = EmbeddedEngine(bundle)
    modules = read_modules(compile_bundle(bundle))
    answer = _ask(engine, question)
    outcome = _outcome(answer)
    return Explanation(
        outcome=outcome,
        reason=answer.reason,
        rule=answer.rule if isinstance(answer, Decision) else "",
        detail=answer.detail if isinstance(answer, PolicyFault) else "",
        revision=bundle.revision,
        looked_at=tuple(_looked_at(bundle, modules, question)),
        flip=_flip(engine, question, outcome, _texts(modules, bundle.data())),
    )


def _outcome(answer: Decision | PolicyFault) -> Outcome:
    if isinstance(answer, PolicyFault):
        return "fault"
    if not answer.allow:
        return "deny"
    return "approval" if answer.approval else "allow"


def _ask(engine: EmbeddedEngine, question: PolicyInput) -> Decision | PolicyFault:
    try:
        return engine.decide(question)
    except PolicyFault as fault:
        return fault


def _looked_at(bundle: Bundle, modules: Sequence[Module], question: PolicyInput) -> Iterator[LookedAt]:
    covered = _covered(bundle, modules, question)
    values: Any = {"input": msgspec.json.decode(encode(question))}
    seen: set[str] = set()
    for module in modules:
        for path, line in sorted(_input_paths(module), key=lambda found: found[1]):
            name = ".".join(path)
            if (module.file, line) in covered and name not in seen:
                seen.add(name)
                yield LookedAt(path=name, value=_value(values, path), file=module.file, line=line)


def _covered(bundle: Bundle, modules: Sequence[Module], question: PolicyInput) -> set[tuple[str, int]]:
    engine = compile_bundle(bundle)
    engine.set_enable_coverage(True)
    engine.set_input_json(encode(question).decode())
    with contextlib.suppress(RuntimeError):
        engine.eval_rule_as_json(f"data.airlock.{answer_rule(modules)}")
    report = msgspec.json.decode(engine.get_coverage_report_as_json())
    return {(file["path"], line) for file in report["files"] for line in file["covered"]}


def _input_paths(module: Module) -> Iterator[tuple[tuple[str, ...], int]]:
    for rule in module.rules:
        for path, span in references(rule.node):
            root, *rest = path
            full = static((*module.aliases.get(str(root), (root,)), *rest))
            if full[0] == "input":
                yield full, span["line"]


def _value(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(values, dict):
            return None
        values = cast("dict[str, Any]", values).get(key)
    return values


def _texts(modules: Sequence[Module], data: dict[str, Any]) -> list[str]:
    """Texts that may be names of roles: those that the policy and its data contain."""
    found = {
        body["value"]
        for module in modules
        for rule in module.rules
        for kind, body in walk(rule.node)
        if kind in {"String", "RawString"}
    }
    pending: list[Any] = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            found.add(item)
        elif isinstance(item, list):
            pending.extend(cast("list[Any]", item))
        elif isinstance(item, dict):
            found.update(cast("dict[str, Any]", item))
            pending.extend(cast("dict[str, Any]", item).values())
    return sorted(text for text in found if text.isidentifier())[:MAX_ROLES]


def _flip(engine: EmbeddedEngine, question: PolicyInput, outcome: Outcome, roles: list[str]) -> Flip | None:
    for path, now, to, changed in _changes(question, roles):
        answer = _ask(engine, changed)
        other = _outcome(answer)
        if other not in {outcome, "fault"}:
            return Flip(path=path, now=now, to=to, outcome=other, reason=answer.reason)
    return None


def _changes(question: PolicyInput, roles: list[str]) -> Iterator[tuple[str, Any, Any, PolicyInput]]:
    """Single changes, the likelier to be made first: tenant, pin, roles, then the classes of the target."""
    replace = msgspec.structs.replace
    subject, target = question.subject, question.target
    if target.tenant not in {"", subject.tenant}:
        changed = replace(subject, tenant=target.tenant)
        yield "input.subject.tenant", subject.tenant, target.tenant, replace(question, subject=changed)
    yield _target_change(question, "approved", not target.approved)
    for held in _role_changes(subject.roles, roles):
        changed = replace(subject, roles=held)
        yield "input.subject.roles", subject.roles, held, replace(question, subject=changed)
    yield _target_change(question, "read_only", not target.read_only)
    here = LEVELS.index(target.sensitivity)
    for level in sorted(LEVELS, key=lambda level: abs(LEVELS.index(level) - here)):
        if level != target.sensitivity:
            yield _target_change(question, "sensitivity", level)


def _role_changes(held: tuple[str, ...], roles: list[str]) -> Iterator[tuple[str, ...]]:
    for role in held:
        yield tuple(other for other in held if other != role)
    for role in roles:
        if role not in held:
            yield (*held, role)


def _target_change(question: PolicyInput, name: str, value: bool | str) -> tuple[str, Any, Any, PolicyInput]:
    target = question.target
    now = msgspec.to_builtins(target)[name]
    changed = msgspec.structs.replace(target, **{name: value})
    return f"input.target.{name}", now, value, msgspec.structs.replace(question, target=changed)
