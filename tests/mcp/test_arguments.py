"""Argument keys that a server might take for declared ones."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airlock.core.errors import Rejected
from airlock.mcp.arguments import (
    MAX_DECLARED,
    MAX_LEVELS,
    MAX_STEPS,
    check_argument_case,
    compile_argument_keys,
)

FILE: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}}
TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {"node": {"properties": {"label": {}, "kids": {"items": {"$ref": "#/$defs/node"}}}}},
}

REFUSED: list[tuple[Any, Any, str]] = [
    (FILE, {"Path": 1}, "arguments"),
    (FILE, {"path": 1, "PATH": 2}, "arguments"),
    ({"properties": {"at": FILE}}, {"at": {"Path": 1}}, "arguments.at"),
    ({"properties": {"all": {"items": FILE}}}, {"all": [{"path": 1}, {"Path": 1}]}, "arguments.all[]"),
    ({"properties": {"all": {"items": [FILE]}}}, {"all": [{"Path": 1}]}, "arguments.all[]"),
    ({"properties": {"all": {"prefixItems": [FILE, True]}}}, {"all": [{"Path": 1}]}, "arguments.all[]"),
    ({"properties": {"all": {"contains": FILE}}}, {"all": [{"Path": 1}]}, "arguments.all[]"),
    ({"additionalProperties": FILE}, {"any": {"Path": 1}}, "arguments.*"),
    ({"patternProperties": {"^x": FILE}}, {"x1": {"Path": 1}}, "arguments.*"),
    ({"allOf": [True, FILE]}, {"Path": 1}, "arguments"),
    ({"anyOf": [{"oneOf": [FILE]}]}, {"Path": 1}, "arguments"),
    ({"if": {}, "then": FILE}, {"Path": 1}, "arguments"),
    ({"dependentSchemas": {"a": FILE}}, {"a": 1, "Path": 1}, "arguments"),
    ({"$ref": "#/$defs/a~1b/0", "$defs": {"a/b": [FILE]}}, {"Path": 1}, "arguments"),
    (TREE, {"kids": [{"kids": [{"Label": 1}]}]}, "arguments.kids[].kids[]"),
    (
        {"additionalProperties": {"$ref": "#"}, "items": FILE},
        {"a": {"b": [{"Path": 1}]}},
        "arguments.*.*[]",
    ),
    (
        {"allOf": [{"properties": {"at": FILE}}, {"properties": {"at": {}}}]},
        {"at": {"Path": 1}},
        "arguments.at",
    ),
]

PASSING: list[tuple[Any, Any]] = [
    (FILE, {"path": 1}),
    (FILE, {"path": 1, "other": {"Path": 1}}),
    (FILE, {}),
    (FILE, ["path"]),
    ({"properties": {"at": FILE}}, {}),
    (TREE, {"label": 1, "kids": [{"label": 2, "kids": []}, 7]}),
    ({"properties": {"A": {}, "a": {}}}, {"A": 1, "a": 2}),
    ({"properties": {"at": FILE}}, {"at": "text"}),
    ({"properties": {"path": {}, "default": {"default": FILE}}}, {"default": {"Path": 1}}),
    ({"$ref": "#/$defs/missing"}, {"Path": 1}),
    ({"$ref": "#/$defs/0", "$defs": [FILE]}, {"path": 1}),
    ({"$ref": "#/$defs/1", "$defs": [FILE]}, {"Path": 1}),
    ({"$ref": "#/$defs/x", "$defs": [FILE]}, {"Path": 1}),
    ({"$ref": "https://elsewhere.test/schema"}, {"Path": 1}),
    ({"$ref": "#"}, {"Path": 1}),
    ({"properties": 7, "allOf": 7}, {"Path": 1}),
    (True, {"Path": 1}),
]


@pytest.mark.parametrize(("schema", "arguments", "where"), REFUSED)
def test_j4_a_declared_key_in_other_case_is_refused(schema: Any, arguments: Any, where: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_argument_case(arguments, compile_argument_keys(schema))
    assert (caught.value.http, caught.value.code) == (400, -32602)
    assert caught.value.reason == "case_variant_argument"
    assert f" in {where} is not declared" in caught.value.text


@pytest.mark.parametrize(("schema", "arguments"), PASSING)
def test_j4_other_keys_pass(schema: Any, arguments: Any) -> None:
    check_argument_case(arguments, compile_argument_keys(schema))


def test_long_chains_of_references_do_not_recurse() -> None:
    links = {str(n): {"properties": {"next": {"$ref": f"#/$defs/{n + 1}"}}} for n in range(1500)}
    links["1500"] = FILE
    keys = compile_argument_keys({"$ref": "#/$defs/0", "$defs": links})
    assert keys.members["next"].declared == {"next"}


def test_schemas_that_combine_without_end_are_refused() -> None:
    links = {str(n): {"properties": {"next": {"$ref": f"#/$defs/{n + 1}"}}} for n in range(MAX_LEVELS + 1)}
    with pytest.raises(ValueError, match="levels"):
        compile_argument_keys({"$ref": "#/$defs/0", "$defs": {**links, str(MAX_LEVELS + 1): FILE}})


def test_keys_are_declared_up_to_a_bound_over_all_levels() -> None:
    half = dict.fromkeys((f"k{n}" for n in range(MAX_DECLARED // 2 - 1)), True)
    schema: dict[str, Any] = {"properties": {"a": {"properties": half}, "b": {"properties": dict(half)}}}
    assert len(compile_argument_keys(schema).members["b"].declared) == len(half)
    schema["properties"]["c"] = {"properties": {"one": True}}
    with pytest.raises(ValueError, match="keys"):
        compile_argument_keys(schema)


def test_many_keys_beside_many_subschemas_cost_their_sum_only() -> None:
    keys = dict.fromkeys((f"k{n}" for n in range(MAX_DECLARED)), True)
    wide: dict[str, Any] = {"properties": keys, "allOf": [{} for _ in range(1900)]}
    began = time.process_time()
    assert len(compile_argument_keys(wide).declared) == MAX_DECLARED
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("target", ["#/$defs/all", "#" + "/$defs" * MAX_STEPS])
def test_subschemas_that_stand_in_too_many_levels_are_refused(target: str) -> None:
    every: dict[str, Any] = {"allOf": [{} for _ in range(1000)]}
    schema: dict[str, Any] = {
        "properties": {f"k{n}": {"properties": {"a": {"$ref": target}}} for n in range(60)},
        "$defs": {"all": every},
    }
    with pytest.raises(ValueError, match="steps"):
        compile_argument_keys(schema)
