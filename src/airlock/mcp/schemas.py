"""The places of a JSON Schema (2020-12) where subschemas stand. Nothing is dereferenced or fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from airlock.mcp.strict import is_array, is_object

SINGLE = frozenset(
    {
        "items",
        "contains",
        "unevaluatedItems",
        "additionalProperties",
        "propertyNames",
        "unevaluatedProperties",
        "not",
        "if",
        "then",
        "else",
        "contentSchema",
    }
)
LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})

Path = tuple[str, ...]


def positions(schema: Any) -> Iterator[tuple[Path | None, int, dict[str, Any]]]:
    """(path, depth, subschema) of every object subschema, the root included, in no promised order.

    The path is the chain of `properties` names from the root, or None once another keyword was crossed.
    """
    waiting: list[tuple[Path | None, int, Any]] = [((), 1, schema)]
    while waiting:
        path, depth, node = waiting.pop()
        if is_object(node):
            yield path, depth, node
            for name, below in _below(node):
                further = None if path is None or name is None else (*path, name)
                waiting.append((further, depth + 1, below))


def _below(schema: dict[str, Any]) -> Iterable[tuple[str | None, Any]]:
    """The subschemas right below, with their names where the keyword is `properties`."""
    for keyword, value in schema.items():
        if keyword in MAPS and is_object(value):
            for name, below in value.items():
                yield name if keyword == "properties" else None, below
        elif keyword in LISTS and is_array(value):
            for below in value:
                yield None, below
        elif keyword in SINGLE:
            yield None, value
