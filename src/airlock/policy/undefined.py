"""Values that may be missing, at the two places where the engine and OPA go different ways.

In the head of a rule with a body the engine can lose other answers when a term there has no value:
it forgets members of a set, or takes another key's value. That would let a refusal vanish, so such heads are
refused. Under `not`, a call or comparison with a missing operand holds here and not in OPA: a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from airlock.policy.capability import COMMON
from airlock.policy.problem import Problem
from airlock.policy.sample import SAMPLE
from airlock.policy.syntax import reference, references, static, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airlock.policy.syntax import Module, Node, Path, Rule

COMPREHENSIONS = ("ArrayCompr", "SetCompr", "ObjectCompr")
PLAIN = {"Var", "RefDot", "RefBrack", "String", "RawString", "Number", "Bool", "Null"}
HEAD_HINT = "bind it in the body first (`v := ...`): the engine loses answers when a head has no value"
NOT_HINT = "may be missing here, and then `not` holds here but not in OPA: bind it before the `not`"


def check_heads(module: Module) -> Iterator[Problem]:
    """Calls, computed keys and parts of local values in a head."""
    for rule in module.rules:
        for term in _head_terms(rule):
            for span in _unsure_terms(term, rule):
                yield Problem(file=module.file, line=span["line"], col=span["col"], message=HEAD_HINT)


def check_negations(modules: Sequence[Module], data: Mapping[str, Any]) -> Iterator[Problem]:
    """Warnings for `not` over anything but a plain reference or an equality of plain references."""
    facts = _Facts(modules, data)
    for module in modules:
        for rule in module.rules:
            for kind, body in walk(rule.node):
                if kind == "NotExpr":
                    for path, span in _operands(body["expr"]):
                        if not facts.always_there(module, rule, path):
                            name = ".".join(key or "[]" for key in path)
                            yield Problem(
                                file=module.file,
                                line=span["line"],
                                col=span["col"],
                                message=f"{name} {NOT_HINT}",
                            )


class _Facts:
    """What always has a value: keys of the input, data, sets, constants, rules with a default."""

    def __init__(self, modules: Sequence[Module], data: Mapping[str, Any]) -> None:
        self._input: Any = msgspec.to_builtins(SAMPLE)
        self._data = data
        self._rules = {
            (*module.package, *rule.path) for module in modules for rule in module.rules if _total(rule)
        }

    def always_there(self, module: Module, rule: Rule, path: Path) -> bool:
        root = str(path[0])
        if root in rule.bound:
            return len(path) == 1
        full = (*module.aliases.get(root, (root,)), *path[1:])
        if None in full:
            return False
        if full[0] == "input":
            return _has(self._input, full[1:])
        if full[0] == "data":
            return full[1:] in self._rules or _has(self._data, full[1:])
        return (*module.package, *full) in self._rules


def _head_terms(rule: Rule) -> Iterator[Node]:
    (form, body), *_ = rule.node.items()
    if form == "Default" or not body["bodies"]:
        return
    (head,) = body["head"].values()
    assigned = [head, *body["bodies"]]
    yield from (part["assign"]["value"] for part in assigned if part.get("assign"))
    if head.get("key"):
        yield head["key"]
    yield from (inner["index"] for kind, inner in walk(head["refr"]) if kind == "RefBrack")


def _unsure_terms(term: Node, rule: Rule) -> Iterator[Node]:
    """A comprehension has a scope of its own and always a value."""
    outer = _without_comprehensions(term)
    yield from (body["span"] for kind, body in walk(outer) if kind == "Call")
    for path, span in references(outer):
        if None in path or (len(path) > 1 and path[0] in rule.bound):
            yield span


def _without_comprehensions(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_comprehensions(item) for item in cast("list[Any]", node)]
    if isinstance(node, dict):
        items = cast("Node", node).items()
        return {key: _without_comprehensions(value) for key, value in items if key not in COMPREHENSIONS}
    return node


def _operands(expression: Node) -> Iterator[tuple[Path, Node]]:
    """References whose absence the two engines take differently."""
    (kind, body), *_ = expression.items()
    simple = kind in {"Var", "RefDot", "RefBrack"}
    equality = (kind, body.get("op")) in {("BoolExpr", "Eq"), ("AssignExpr", "Eq")}
    if simple or equality:
        parts = [expression] if simple else [body["lhs"], body["rhs"]]
        computed = [index for part in parts for index in _computed_keys(part)]
        if simple or all(next(iter(part)) in PLAIN for part in parts):
            yield from references(computed)
            return
    yield from _arguments(_without_comprehensions(expression))


def _computed_keys(part: Node) -> list[Node]:
    return [body["index"] for kind, body in walk(part) if kind == "RefBrack"]


def _arguments(expression: Node) -> Iterator[tuple[Path, Node]]:
    """What a call or comparison needs; of functions the policy's own, inside, since one may have no value."""
    calls = [body for kind, body in walk(expression) if kind == "Call"]
    names = [(call["span"], reference(call["fcn"])) for call in calls]
    for span, path in names:
        if span != next(iter(expression.values()))["span"] and ".".join(static(path)) not in COMMON:
            yield (*path, None), span
    functions = {_place(next(iter(call["fcn"].values()))["span"]) for call in calls}
    yield from ((path, span) for path, span in references(expression) if _place(span) not in functions)


def _place(span: Node) -> tuple[int, int]:
    return span["start"], span["end"]


def _total(rule: Rule) -> bool:
    (form, body), *_ = rule.node.items()
    return form == "Default" or rule.kind == "Set" or (rule.kind == "Compr" and not body["bodies"])


def _has(values: Any, path: Path) -> bool:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return False
        values = cast("dict[Any, Any]", values)[key]
    return True
