"""How much work a validator may have with a schema, whatever the value: bounded before anything is validated.

References and combinators multiply: 24 levels of `allOf: [a, a]` are 2^24 visits of one value. The visits
of a schema without recursion are counted. A recursive one multiplies with each level of the value, so the
levels are bounded. Only references inside the document (`#`, `#/...`) are followed: whatever names a
subschema in another way cannot be counted, and is a defect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from airlock.mcp.strict import MAX_DEPTH, is_array, is_object

MAX_VISITS = 100_000
"""Visits of subschemas for one part of a value: some milliseconds in the validator."""

_HERE_LISTS = ("allOf", "anyOf", "oneOf")
_HERE_MAPS = ("dependentSchemas", "dependencies")
_HERE = ("not", "if", "then", "else")
_BELOW_MAPS = ("properties", "patternProperties")
_BELOW_LISTS = ("prefixItems", "items")
_BELOW = (
    "additionalProperties", "unevaluatedProperties", "propertyNames", "items", "additionalItems",
    "unevaluatedItems", "contains",
)  # fmt: skip

Schema = dict[str, Any]


def levels(schema: Schema) -> int:
    """Levels of a value that may be validated against the schema. Raises `ValueError` for none at all."""
    count = _Count(schema)
    try:
        visits = count.visits(schema)
        growth = max(count.overlap(node) for node in count.seen())
        spread = max(count.spread(node) for node in count.seen())
    except RecursionError as error:
        raise ValueError("its references go too deep") from error
    most = max(spread, 0 if count.recursive else visits)
    if most > MAX_VISITS:
        raise ValueError(f"validating against it may take {most} steps, more than {MAX_VISITS}")
    if not count.recursive or growth <= 1:
        return MAX_DEPTH
    return min(MAX_DEPTH, int(math.log(MAX_VISITS) / math.log(growth)))


def depth(value: Any) -> int:
    """Levels of objects and arrays in a value; 0 for a scalar."""
    if is_object(value):
        return 1 + max((depth(below) for below in value.values()), default=0)
    if is_array(value):
        return 1 + max((depth(below) for below in value), default=0)
    return 0


class _Count:
    """Counts over the subschemas that can be reached from the root, each computed once."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._nodes: dict[int, Schema] = {}
        self._known: dict[tuple[str, int], int] = {}
        self._open: set[tuple[str, int]] = set()
        self.recursive = False

    def seen(self) -> list[Schema]:
        return list(self._nodes.values())

    def visits(self, node: Schema) -> int:
        """Visits of a value and of one value under each keyword below it; a recursion counts once."""
        self._nodes[id(node)] = node

        def again() -> int:
            self.recursive = True
            return 1

        return self._once("visits", node, again, lambda: 1 + sum(map(self.visits, self._all(node))))

    def spread(self, node: Schema) -> int:
        """Visits of one value at one place."""
        return self._once("spread", node, _circle, lambda: 1 + sum(map(self.spread, self._here(node))))

    def overlap(self, node: Schema) -> int:
        """Keywords that may lead to the same part of a value, over all visits of the value."""
        own = sum(keyword in node for keyword in ("properties", "prefixItems", *_BELOW))
        own += len(_mapping(node.get("patternProperties")))
        return self._once("overlap", node, _circle, lambda: own + sum(map(self.overlap, self._here(node))))

    def _once(self, what: str, node: Schema, again: Callable[[], int], count: Callable[[], int]) -> int:
        key = (what, id(node))
        if key in self._open:
            return again()
        if key not in self._known:
            self._open.add(key)
            self._known[key] = count()
            self._open.discard(key)
        return self._known[key]

    def _all(self, node: Schema) -> Iterator[Schema]:
        yield from self._here(node)
        for keyword in _BELOW_MAPS:
            yield from filter(is_object, _mapping(node.get(keyword)).values())
        for keyword in _BELOW_LISTS:
            yield from filter(is_object, _sequence(node.get(keyword)))
        yield from (node[keyword] for keyword in _BELOW if is_object(node.get(keyword)))

    def _here(self, node: Schema) -> Iterator[Schema]:
        """Subschemas that see the same value as `node`."""
        if "$dynamicRef" in node or "$recursiveRef" in node or ("$id" in node and node is not self._root):
            raise ValueError("it refers to subschemas in a way that cannot be followed")
        if "$ref" in node:
            target = self._target(node["$ref"])
            if is_object(target):
                yield target
        for keyword in _HERE_LISTS:
            yield from filter(is_object, _sequence(node.get(keyword)))
        for keyword in _HERE_MAPS:
            yield from filter(is_object, _mapping(node.get(keyword)).values())
        yield from (node[keyword] for keyword in _HERE if is_object(node.get(keyword)))

    def _target(self, reference: Any) -> Any:
        """What a JSON pointer into the document names (RFC 6901)."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise ValueError("it refers to subschemas in a way that cannot be followed")
        target: Any = self._root
        for part in unquote(reference).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if is_object(target) and name in target:
                target = target[name]
            elif is_array(target) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            else:
                raise ValueError("it refers to a subschema that does not exist")
        return target


def _circle() -> int:
    raise ValueError("its references go in a circle")


def _mapping(value: Any) -> dict[str, Any]:
    return value if is_object(value) else {}


def _sequence(value: Any) -> list[Any]:
    return value if is_array(value) else []
