"""The engine's syntax tree, read once into modules and rules that the checks can walk.

A node of the tree is an object with one capitalised key, such as {"Call": {"span": ..., "fcn": ...}}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airlock.policy.rego import Rego

Node = dict[str, Any]

Path = tuple[str | None, ...]
"""A reference such as `input.subject.roles[_]`; None stands for a computed key."""


class Import(msgspec.Struct, frozen=True, kw_only=True):
    path: Path
    alias: str
    line: int
    col: int


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, default or function. `path` is relative to its package."""

    file: str
    line: int
    col: int
    kind: str
    """`Compr` (one value, or an object under a longer `path`), `Set`, `Func` or `Default`."""
    path: Path
    node: Node
    head: tuple[int, int]
    """Byte range of the rule's own name."""
    bound: frozenset[str]
    """Names that the rule itself introduces: its arguments and those of `:=`, `some` and `every`."""


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """One `.rego` file."""

    file: str
    package: tuple[str, ...]
    imports: tuple[Import, ...]
    rules: tuple[Rule, ...]

    @property
    def aliases(self) -> dict[str, Path]:
        return {entry.alias: entry.path for entry in self.imports if entry.path[0] in {"data", "input"}}


def read_modules(engine: Rego) -> list[Module]:
    """In the order in which they were added."""
    return [_module(entry["source"], entry["ast"]) for entry in msgspec.json.decode(engine.get_ast_as_json())]


def walk(node: Any) -> Iterator[tuple[str, Node]]:
    """Every (kind, body) below a node, outermost first. A `with` modifier has the kind `With`."""
    pending: list[Any] = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(reversed(cast("list[Any]", item)))
        elif isinstance(item, dict):
            for key, value in cast("Node", item).items():
                if key[0].isupper() and isinstance(value, dict):
                    yield key, cast("Node", value)
                if key == "with_mods":
                    yield from (("With", modifier) for modifier in cast("list[Node]", value))
                if key != "span":
                    pending.append(value)


def reference(node: Node) -> Path:
    """The dotted path of a reference; empty when it does not start at a name."""
    (kind, body), *_ = node.items()
    if kind == "Var":
        return (body["value"],)
    if kind not in {"RefDot", "RefBrack"}:
        return ()
    root = reference(body["refr"])
    return (*root, body["field"][1] if kind == "RefDot" else _literal(body["index"])) if root else ()


def references(node: Any) -> Iterator[tuple[Path, Node]]:
    """Every reference below a node with its span; of a chain only the longest form."""
    parts: set[int] = set()
    for kind, body in walk(node):
        if kind in {"RefDot", "RefBrack"}:
            parts.update(part["eidx"] for part in body["refr"].values())
        if kind in {"Var", "RefDot", "RefBrack"} and body["eidx"] not in parts:
            path = reference({kind: body})
            if path:
                yield path, body["span"]


def static(path: Path) -> tuple[str, ...]:
    """The part of a path before its first computed key."""
    known: list[str] = []
    for key in path:
        if key is None:
            break
        known.append(key)
    return tuple(known)


def _literal(index: Node) -> str | None:
    (kind, body), *_ = index.items()
    return body["value"] if kind in {"String", "RawString"} else None


def _module(source: Node, tree: Node) -> Module:
    file, text = source["file"], source["contents"].encode()
    return Module(
        file=file,
        package=static(reference(tree["package"]["refr"])),
        imports=tuple(_import(entry, text) for entry in tree["imports"]),
        rules=tuple(_rule(file, entry, text) for entry in tree["rules"]),
    )


def _import(entry: Node, text: bytes) -> Import:
    path = reference(entry["refr"])
    alias = _text(entry["as"], text) if "as" in entry else str(path[-1])
    return Import(path=path, alias=alias, line=entry["span"]["line"], col=entry["span"]["col"])


def _rule(file: str, node: Node, text: bytes) -> Rule:
    (form, body), *_ = node.items()
    kind, head = ("Default", body) if form == "Default" else next(iter(body["head"].items()))
    return Rule(
        file=file,
        line=body["span"]["line"],
        col=body["span"]["col"],
        kind=kind,
        path=reference(head["refr"]),
        node=node,
        head=_head(head),
        bound=frozenset(_bound(node, head, text)) - {"input", "data"},
    )


def _head(head: Node) -> tuple[int, int]:
    (name,) = head["refr"].values()
    return name["span"]["start"], name["span"]["end"]


def _bound(node: Node, head: Node, text: bytes) -> Iterator[str]:
    yield from _names(head.get("args"))
    for kind, body in walk(node):
        if kind == "AssignExpr" and body["op"] == "ColEq":
            yield from _names(body["lhs"])
        elif kind == "SomeVars":
            yield from (_text(span, text) for span in body["vars"])
        elif kind == "SomeIn":
            yield from _names([body["key"], body["value"]])
        elif kind == "Every":
            yield from (_text(span, text) for span in (body["key"], body["value"]) if span)


def _names(node: Any) -> Iterator[str]:
    return (body["value"] for kind, body in walk(node) if kind == "Var")


def _text(span: Node, text: bytes) -> str:
    return text[span["start"] : span["end"]].decode()
