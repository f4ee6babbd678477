"""What validating a value may cost: counted for plain schemas, bounded by levels for recursive ones."""

from __future__ import annotations

import time
from typing import Any

import jsonschema_rs
import pytest

from airlock.mcp.strict import MAX_DEPTH
from airlock.mcp.work import depth, levels

TREE: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
    ]
}


def ladder(rungs: int, **last: Any) -> dict[str, Any]:
    """Each rung refers to the next one twice: 2^rungs visits of one value."""
    step = {
        f"r{n}": {"allOf": [{"$ref": f"#/$defs/r{n + 1}"}, {"$ref": f"#/$defs/r{n + 1}"}]}
        for n in range(rungs)
    }
    return {"$ref": "#/$defs/r0", "$defs": {**step, f"r{rungs}": last}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": True}, "required": ["a"]},
        {"properties": {"a": {"items": {"oneOf": [{"type": "string"}, {"type": "null"}]}}}},
        {"patternProperties": {"^x": {"not": {"const": 1}}}, "if": {}, "then": {}, "else": False},
        {"properties": {"a": {"$ref": "#/$defs/~1odd~0name"}}, "$defs": {"/odd~name": {"type": "integer"}}},
        {"properties": {"a": {"$ref": "#/anyOf/0"}}, "anyOf": [{"minLength": 1}]},
        {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": True}},
        {"dependentSchemas": {"a": {"required": ["b"]}}, "dependencies": {"a": ["b"], "c": {"minLength": 1}}},
        {"properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
        {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
        {"$id": "https://example.com/root", "items": [{"type": "string"}]},
        ladder(10, type="object"),
    ],
)
def test_an_ordinary_schema_has_no_bound_of_its_own(schema: dict[str, Any]) -> None:
    assert levels(schema) == MAX_DEPTH


UNBOUNDED: list[tuple[dict[str, Any], str]] = [
    (ladder(24, type="object"), "steps"),
    (
        {"properties": {"a": {"$ref": "#/$defs/r0"}}, "$defs": ladder(30)["$defs"]},
        "steps",
    ),
    ({"$ref": "#"}, "circle"),
    ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "circle"),
    ({"$ref": "https://example.com/schema"}, "cannot be followed"),
    ({"$ref": "#name"}, "cannot be followed"),
    ({"$ref": 7}, "cannot be followed"),
    ({"properties": {"a": {"$dynamicRef": "#node"}}}, "cannot be followed"),
    ({"items": {"$recursiveRef": "#"}}, "cannot be followed"),
    ({"properties": {"a": {"$id": "other", "$ref": "#/x"}}}, "cannot be followed"),
    ({"$ref": "#/$defs/nothing"}, "does not exist"),
    ({"$ref": "#/anyOf/7", "anyOf": [{}]}, "does not exist"),
]


@pytest.mark.parametrize(("schema", "words"), UNBOUNDED)
def test_what_cannot_be_bounded_is_a_defect(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        levels(schema)


def test_a_chain_of_references_that_goes_too_deep_is_a_defect() -> None:
    chain = {f"r{n}": {"$ref": f"#/$defs/r{n + 1}"} for n in range(1900)}
    with pytest.raises(ValueError, match="too deep"):
        levels({"$ref": "#/$defs/r0", "$defs": {**chain, "r1900": {}}})


def test_a_recursive_schema_is_bounded_by_levels() -> None:
    bound = levels(TREE)
    assert 10 <= bound < MAX_DEPTH
    doubling = {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
    assert levels(doubling) == levels(TREE)


def test_a_value_at_the_bound_is_validated_quickly() -> None:
    """The worst recursion that is admitted: two visits become four with each level."""
    schema = {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
    value: dict[str, Any] = {}
    for _ in range(levels(schema)):
        value = {"a": value}
    validator = jsonschema_rs.validator_for(schema)
    started = time.perf_counter()
    validator.is_valid(value)
    assert time.perf_counter() - started < 1.0


DEEP: list[tuple[Any, int]] = [(1, 0), ({}, 1), ([], 1), ({"a": [1, {"b": 2}]}, 3), ([[[]], 1], 3)]


@pytest.mark.parametrize(("value", "deep"), DEEP)
def test_depth_counts_objects_and_arrays(value: Any, deep: int) -> None:
    assert depth(value) == deep
