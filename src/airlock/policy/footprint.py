"""What of `input` a policy can read: proved from its syntax tree, or not at all.

1. Only syntax and functions that are known here, each a pure function of its operands.
2. No computed key into `input`, no `walk`, no `object.get` with a computed key.
3. Every reference to `input`, cut to the schema of the question: a name reads no more than what is below it.

All rules of all modules count, used or not. A value that a rule binds came from a reference, which counts
where it stands. What cannot be placed is a doubt, and one doubt means that nothing is proved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

import msgspec
import msgspec.inspect as mi

from airlock.model.decision import PolicyInput
from airlock.policy.capability import check_module, functions_of
from airlock.policy.problem import Problem
from airlock.policy.syntax import reference, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airlock.policy.syntax import Module, Node, Rule

PLAIN = re.compile(r'[^"\\\x00-\x1f]*')

Names = tuple[str, ...]
"""A path below `input`, such as ("subject", "roles")."""

REFERENCES = {"Var", "RefDot", "RefBrack"}
TEXTS = {"String", "RawString"}
CONSTANTS = TEXTS | {"Number", "Bool", "Null"}
KINDS = frozenset(
    REFERENCES
    | CONSTANTS
    | {"Spec", "Default", "Compr", "Set", "Func", "Expr", "NotExpr", "SomeVars", "SomeIn", "Every", "With"}
    | {"Array", "Object", "ArrayCompr", "SetCompr", "ObjectCompr", "Call", "UnaryExpr", "BinExpr"}
    | {"BoolExpr", "ArithExpr", "AssignExpr", "Membership"}
)
"""Nodes whose meaning the proof knows. `With` is here because it is refused by name."""

EVERYTHING = "the whole of `input` is read, the clock included: read its parts"
COMPUTED = "a computed key: which part of `input` is read cannot be told before"
WALKED = "reads parts that cannot be told before"


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """`paths` are all that can be read, none below another; with `doubts` there is no proof and no path."""

    paths: tuple[Names, ...] = ()
    doubts: tuple[Problem, ...] = ()


def prove(modules: Sequence[Module]) -> Footprint:
    """The footprint of modules as the engine compiled them; `data` is part of the revision."""
    functions = functions_of(modules)
    doubts: list[Problem] = []
    paths: set[Names] = set()
    for module in modules:
        doubts += check_module(module, functions, test=False)
        doubts += _odd_names(module)
        for rule in module.rules:
            doubts += _odd_syntax(module, rule)
            for read in _input_reads(module, rule.node):
                if isinstance(read, Problem):
                    doubts.append(read)
                else:
                    paths.add(read)
    if doubts:
        return Footprint(doubts=tuple(sorted(set(doubts), key=lambda doubt: (doubt.file, doubt.line))))
    return Footprint(paths=tuple(sorted(path for path in paths if not _covered(path, paths))))


def _covered(path: Names, paths: set[Names]) -> bool:
    return any(path[:length] in paths for length in range(1, len(path)))


def _odd_names(module: Module) -> Iterator[Problem]:
    """An import cannot take these names away: the engine goes on to mean the real ones."""
    for entry in module.imports:
        if entry.alias in {"input", "data"} and entry.path != (entry.alias,):
            message = f"an import under the name of `{entry.alias}`"
            yield Problem(file=module.file, line=entry.line, col=entry.col, message=message)


def _odd_syntax(module: Module, rule: Rule) -> Iterator[Problem]:
    for kind, body in walk(rule.node):
        if kind not in KINDS:
            yield _at(module, body.get("span"), f"`{kind}` is syntax that the proof does not know")
        elif kind == "Call":
            yield from _odd_call(module, body)


def _odd_call(module: Module, call: Node) -> Iterator[Problem]:
    """Functions that take a key as a value."""
    name, operands = ".".join(map(str, reference(call["fcn"]))), call["params"]
    if name == "walk" and not _of_data(module, operands[0]):
        yield _at(module, call["span"], f"`walk` {WALKED}")
    computed = name == "object.get" and any(
        kind not in CONSTANTS | {"Array"} for kind, _ in walk(operands[1])
    )
    if computed and not _of_data(module, operands[0]):
        yield _at(module, call["span"], f"`object.get` with a computed key {WALKED}")


def _of_data(module: Module, operand: Node) -> bool:
    """Whether an operand is a part of `data`: it belongs to the revision."""
    return _full(module, reference(operand))[:1] == ("data",)


class _Key(Enum):
    """Keys that name no part: an element like any other, or a value that is known only at run time."""

    ELEMENT = 1
    COMPUTED = 2


def _input_reads(module: Module, node: Node) -> Iterator[Names | Problem]:
    for keys, span in _references(node):
        root, *below = _full(module, keys)
        if root != "input":
            continue
        if _Key.COMPUTED in below:
            yield _at(module, span, COMPUTED)
        else:
            names = _narrowed(below)
            yield _at(module, span, names) if isinstance(names, str) else names


def _full(module: Module, keys: Sequence[Any]) -> tuple[Any, ...]:
    """The reference with an imported name replaced by what it stands for."""
    return (*module.aliases.get(str(keys[0]), keys[:1]), *keys[1:]) if keys else ()


def _references(node: Any) -> Iterator[tuple[list[Any], Node]]:
    """Every reference below a node: its keys from the root on, and its span. Inside of keys, too."""
    pending: list[Any] = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(cast("list[Any]", item))
        elif isinstance(item, dict):
            for kind, body in cast("Node", item).items():
                if kind in REFERENCES:
                    keys, beside = _chain({kind: body})
                    yield keys, body["span"]
                    pending.extend(beside)
                elif kind != "span":
                    pending.append(body)


def _chain(node: Node) -> tuple[list[Any], list[Node]]:
    """The keys of one reference, and the nodes that it holds: computed keys, and a root that is no name."""
    keys: list[Any] = []
    beside: list[Node] = []
    while True:
        (kind, body), *_ = node.items()
        if kind == "RefDot":
            keys.append(body["field"][1])
        elif kind == "RefBrack":
            keys.append(_key(body["index"]))
            beside.append(body["index"])
        else:
            break
        node = body["refr"]
    if kind == "Var":
        keys.append(body["value"])
    else:
        keys.append(_Key.COMPUTED)
        beside.append(node)
    return keys[::-1], beside


def _key(index: Node) -> str | _Key:
    (kind, body), *_ = index.items()
    if kind in TEXTS:
        return body["value"]
    wildcard = kind == "Var" and body["value"] == "_"
    return _Key.ELEMENT if wildcard or kind in CONSTANTS else _Key.COMPUTED


def _shape(of: mi.Type) -> dict[str, Any] | None:
    """The keys that the question has there: none below a leaf, any below a free object (`{}`)."""
    if isinstance(of, mi.StructType):
        return {field.encode_name: _shape(field.type) for field in of.fields}
    return {} if isinstance(of, mi.DictType) else None


SHAPE = _shape(mi.type_info(PolicyInput))


def _narrowed(keys: Sequence[Any]) -> Names | str:
    """The path as far as the question has keys of its own, or why it has no place there.

    A leaf counts whole, and so does a section that is named without a key. Of the arguments one name counts,
    or all of them where the name is written with escapes in JSON.
    """
    names: list[str] = []
    shape: Mapping[str, Any] | None = SHAPE
    for key in keys:
        if shape is None or not isinstance(key, str):
            break
        if shape and key not in shape:
            return f"input.{'.'.join([*names, key])} is no part of the question"
        if not shape and not PLAIN.fullmatch(key):
            break
        names.append(key)
        shape = shape[key] if shape else None
    return tuple(names) or EVERYTHING


def _at(module: Module, span: Node | None, message: str) -> Problem:
    place = span or {"line": 0, "col": 0}
    return Problem(file=module.file, line=place["line"], col=place["col"], message=message)
