"""The catalog: what counts as the same definition, which tools are fit to be served, under which names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.config import ToolEntry
from airlock.gateway import catalog
from airlock.mcp import names, strict
from airlock.model.server import Catalog, Item, PinState
from tests.gateway.parts import definition, entry, offer

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["a", "b", "type", "\u00fc", "\U0001f600", "\uffff"]), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
told: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["title", "description", "inputSchema", "outputSchema", "annotations", "_meta", "new"]),
    values,
    max_size=5,
).map(lambda members: {"name": "echo", **members})

few = settings(max_examples=100, deadline=None)


def backwards(value: Any) -> Any:
    """The same JSON value with the keys of every object in another order."""
    if strict.is_object(value):
        return {key: backwards(value[key]) for key in reversed(list(value))}
    return [backwards(item) for item in value] if strict.is_array(value) else value


def inside(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in the value: what contains it, and its key or index there."""
    members: list[tuple[Any, Any]] = []
    if strict.is_object(value):
        members.extend(value.items())
    elif strict.is_array(value):
        members.extend(enumerate(value))
    for key, below in members:
        yield value, key
        yield from inside(below)


def built(*definitions: dict[str, Any], **more: Any) -> dict[str, Item]:
    pins = {str(tool.get("name")): "pinned" for tool in definitions}
    found = catalog.build(entry(**more), offer(*definitions), msgspec.convert(pins, dict[str, Any]), 7.0)
    return found.tools


@few
@given(told, st.sampled_from([0, 1, 4]))
def test_neither_white_space_nor_the_order_of_keys_changes_the_digest(
    members: dict[str, Any], indent: int
) -> None:
    wire = msgspec.json.format(msgspec.json.encode(backwards(members)), indent=indent)
    assert catalog.digest(strict.parse(wire)) == catalog.digest(members)


@few
@given(told, st.data())
def test_any_change_of_any_value_changes_the_digest(members: dict[str, Any], data: st.DataObject) -> None:
    changed = msgspec.json.decode(msgspec.json.encode(members))
    places = list(inside(changed))
    place, step = data.draw(st.sampled_from(places))
    before = strict.canonical(place[step])
    place[step] = data.draw(scalars.filter(lambda new: strict.canonical(new) != before))
    assert catalog.digest(changed) != catalog.digest(members)


@few
@given(told, st.sampled_from(["title", "x-other", "outputSchema"]), scalars)
def test_a_member_more_or_less_changes_the_digest(members: dict[str, Any], name: str, value: Any) -> None:
    with_it = {**members, name: value}
    without = {key: held for key, held in members.items() if key != name}
    assert catalog.digest(with_it) != catalog.digest(without)


def test_the_first_of_two_equal_names_counts() -> None:
    tools = catalog.definitions(offer(definition("a", title="first"), definition("a", title="second")))
    assert tools["a"][1]["title"] == "first"


@pytest.mark.parametrize("name", [None, 4, "", ["a"]])
def test_a_tool_without_a_usable_name_is_left_out(name: Any) -> None:
    assert list(catalog.definitions(offer({**definition(), "name": name}, definition("b")))) == ["b"]


@pytest.mark.parametrize("twice", [{"$ref": "#"}, {"allOf": [{"$ref": "#/$defs/a"}] * 2}])
def test_a_schema_whose_work_cannot_be_bounded_is_a_defect(twice: dict[str, Any]) -> None:
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(24)}
    schema = {"type": "object", **twice, "$defs": {"a": {"$ref": "#/$defs/s0"}, **steps, "s24": {}}}
    assert "input schema cannot be used" in built(definition(inputSchema=schema))["echo"].defect


def test_a_tool_without_a_pin_counts_as_changed() -> None:
    found = catalog.build(entry(), offer(), {}, 7.0)
    assert found.tools["echo"].pin == "changed"


def test_the_catalog_says_when_it_was_read_and_what_the_server_says_of_itself() -> None:
    found = catalog.build(entry(), offer(instructions="Be kind.", era="2025-06-18"), {}, 7.0)
    assert (found.fetched_at, found.instructions, found.era) == (7.0, "Be kind.", "2025-06-18")


@pytest.mark.parametrize(
    ("sensitivity", "read_only", "said", "expected"),
    [
        ("low", True, ToolEntry(), ("low", True)),
        ("low", True, ToolEntry(sensitivity="critical"), ("critical", True)),
        ("low", True, ToolEntry(read_only=False), ("low", False)),
        ("high", False, ToolEntry(read_only=True), ("high", True)),
    ],
)
def test_what_the_operator_says_of_one_tool_goes_before_what_is_said_of_its_server(
    sensitivity: str, read_only: bool, said: ToolEntry, expected: tuple[str, bool]
) -> None:
    tools = built(definition(), sensitivity=sensitivity, read_only=read_only, tools={"echo": said})
    assert (tools["echo"].sensitivity, tools["echo"].read_only) == expected


def test_what_the_server_says_of_its_own_risk_counts_for_nothing() -> None:
    calm = {"readOnlyHint": True, "destructiveHint": False}
    assert not built(definition(annotations=calm))["echo"].read_only


def test_tags_of_server_and_tool_are_joined() -> None:
    tools = built(definition(), tags=("a",), tools={"echo": ToolEntry(tags=("b",))})
    assert tools["echo"].tags == ("a", "b")


def test_annotated_arguments_are_mirrored_into_headers() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    assert built(definition(inputSchema=schema))["echo"].param_headers == ((("region",), "Region"),)


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return {"type": "object", "properties": {"deep": schema}}


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "no schema": ({"inputSchema": None}, "not an object"),
    "a boolean schema": ({"inputSchema": True}, "not an object"),
    "too deep": ({"inputSchema": nested(40)}, "nested deeper"),
    "too deep an output": ({"outputSchema": nested(40)}, "nested deeper"),
    "an output that is no schema": ({"outputSchema": "text"}, "not an object"),
    "an unknown type": ({"inputSchema": {"type": "thing"}}, "cannot be used"),
    "a broken pattern": ({"inputSchema": {"properties": {"a": {"pattern": "("}}}}, "cannot be used"),
    "a pattern that looks back": ({"inputSchema": {"properties": {"a": {"pattern": "(a)\\1"}}}}, "cannot be"),
    "another's schema": ({"inputSchema": {"$ref": "http://127.0.0.1:9/s.json"}}, "cannot be followed"),
    "a file": ({"inputSchema": {"$ref": "file:///etc/passwd"}}, "cannot be followed"),
    "no such place": ({"inputSchema": {"$ref": "#/$defs/none"}}, "cannot be used"),
    "an unknown draft": ({"inputSchema": {"$schema": "http://unknown.example/"}}, "cannot be used"),
    "a header that is no token": (
        {"inputSchema": {"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}}},
        "not a token",
    ),
    "only as a task": ({"execution": {"taskSupport": "required"}}, "only as a task"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_an_unfit_tool_keeps_its_defect_and_the_others_stay(case: str) -> None:
    more, why = UNFIT[case]
    tools = built(definition("bad") | more, definition("good"))
    assert why in tools["bad"].defect
    assert tools["bad"].param_headers == ()
    assert tools["good"].defect == ""


@pytest.mark.parametrize(
    "more",
    [
        {"execution": {"taskSupport": "optional"}},
        {"execution": "required"},
        {"outputSchema": None},
        {"outputSchema": {"$ref": "http://127.0.0.1:9/never-fetched.json"}},
        {"inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}},
        {"inputSchema": {"type": "object", "properties": {"child": {"$ref": "#"}}}},
    ],
)
def test_what_is_only_unusual_is_served(more: dict[str, Any]) -> None:
    assert built(definition() | more)["echo"].defect == ""


def test_a_pattern_that_is_small_to_write_and_huge_to_compile_is_a_defect() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": r"(\pL{54}){2}"}}}
    assert "cannot be used" in built(definition(inputSchema=schema))["echo"].defect


@pytest.mark.parametrize("count", [catalog.MAX_PATTERNS, catalog.MAX_PATTERNS + 1])
@pytest.mark.parametrize("keyed", [True, False])
def test_the_patterns_of_a_tool_are_counted_wherever_they_stand(count: int, keyed: bool) -> None:
    patterns = [f"^a{n}$" for n in range(count)]
    held: Any = [{"pattern": pattern} for pattern in patterns]
    if keyed:
        held = {"patternProperties": dict.fromkeys(patterns, True)}
    schema = {"type": "object", "x-held": {"a": held}}
    too_many = "patterns" in built(definition(inputSchema=schema))["echo"].defect
    assert too_many == (count > catalog.MAX_PATTERNS)


def test_what_was_judged_before_is_not_judged_again() -> None:
    offered = catalog.definitions(offer(definition("a"), definition("b", inputSchema=7)))
    defects = catalog.judged(offered, {offered["a"][0]: "as it was"})
    assert defects[offered["a"][0]] == "as it was"
    assert "not an object" in defects[offered["b"][0]]


def test_of_two_tools_with_one_alias_none_is_served() -> None:
    odd = built(definition("a b"))["a b"].alias.removeprefix("docs__")
    found = catalog.build(entry(), offer(definition(odd), definition("a b")), {}, 7.0)
    assert "collides with 'a b'" in found.tools[odd].defect
    assert f"collides with {odd!r}" in found.tools["a b"].defect
    assert found.by_alias[f"docs__{odd}"].defect


def test_a_definition_is_kept_as_it_was_sent() -> None:
    sent = definition(extra={"b": 1, "a": [1.5, None]})
    assert built(sent)["echo"].definition == sent


OFFERED = offer(
    definition("echo"),
    definition("prompt:greet"),
    prompts=({"name": "greet", "arguments": [{"name": "who"}]}, {"name": "a b"}, {"name": 7}),
    resources=({"uri": "file:///x", "name": "x", "size": 1}, {"uri": "file:///a", "name": "a"}),
    templates=({"uriTemplate": "db://{id}", "name": "t"}, {"uriTemplate": "db://{", "name": "broken"}),
)
PINNED: dict[str, PinState] = dict.fromkeys(catalog.definitions(OFFERED), "pinned")


def whole(**more: Any) -> Catalog:
    return catalog.build(entry(**more), OFFERED, PINNED, 1.0)


def test_everything_has_one_name_by_which_it_is_known() -> None:
    found = whole()
    named = [found.tools, found.prompts, found.resources, found.templates]
    assert [[(item.kind, item.name) for item in held.values()] for held in named] == [
        [("tool", "echo"), ("tool", "tool:prompt:greet")],
        [("prompt", "prompt:a b"), ("prompt", "prompt:greet")],
        [("resource", "resource:file:///a"), ("resource", "resource:file:///x")],
        [("template", "template:db://{"), ("template", "template:db://{id}")],
    ]
    assert [list(held) for held in named] == [[item.own for item in held.values()] for held in named]
    assert found.prompts["greet"].alias == "docs__greet"
    assert found.prompts_by_alias[found.prompts["a b"].alias].own == "a b"
    assert found.resources["file:///x"].alias == "mcp+docs:file:///x"


def test_tools_prompts_and_templates_are_pinned_and_resources_are_not() -> None:
    unknown = catalog.build(entry(), OFFERED, {}, 1.0)
    held = (unknown.tools, unknown.prompts, unknown.templates, unknown.resources)
    assert [{item.pin for item in every.values()} for every in held] == [
        {"changed"},
        {"changed"},
        {"changed"},
        {"pinned"},
    ]
    assert set(PINNED) == {
        "echo",
        "tool:prompt:greet",
        "prompt:greet",
        "prompt:a b",
        "template:db://{id}",
        "template:db://{",
    }


def test_what_changes_with_the_data_is_no_part_of_the_digest_of_a_resource() -> None:
    def digest_of(**more: Any) -> str:
        told = offer(resources=({"uri": "a:b", "name": "x", **more},))
        return catalog.build(entry(), told, {}, 1.0).resources["a:b"].digest

    assert digest_of() == digest_of(size=7, annotations={"lastModified": "2026-01-01T00:00:00Z"})
    assert digest_of() != digest_of(description="Read me first.")


def test_a_broken_template_stands_for_nothing() -> None:
    broken, fine = whole().templates["db://{"], whole().templates["db://{id}"]
    assert (broken.matches, bool(broken.defect)) == (None, True)
    assert fine.matches is not None and fine.matches("db://7") and not fine.matches("file:///x")


def test_the_configuration_knows_each_by_that_name() -> None:
    exceptions = {
        "prompt:greet": ToolEntry(sensitivity="high"),
        "resource:file:///x": ToolEntry(read_only=True, tags=("plans",)),
    }
    found = whole(sensitivity="low", tools=exceptions)
    assert (found.prompts["greet"].sensitivity, found.prompts["a b"].sensitivity) == ("high", "low")
    assert (found.resources["file:///x"].read_only, found.resources["file:///x"].tags) == (True, ("plans",))


def test_prompts_whose_names_collide_are_both_unusable() -> None:
    both = ("a b", "a_b_" + names.alias("docs", "a b")[-8:])
    told = offer(prompts=tuple({"name": name} for name in both))
    found = catalog.build(entry(), told, dict.fromkeys((f"prompt:{name}" for name in both), "pinned"), 1.0)
    assert all("collides" in item.defect for item in found.prompts.values())


def test_parts_that_say_the_same_are_the_same() -> None:
    before, again = whole(), whole()
    assert catalog.steady(None, before) is before
    kept = catalog.steady(before, again)
    assert (kept.tools is before.tools, kept.templates is before.templates) == (True, True)
    told = offer(
        *OFFERED.tools, prompts=({"name": "greet"},), resources=({**OFFERED.resources[0], "size": 2},)
    )
    changed = catalog.steady(before, catalog.build(entry(), told, PINNED, 2.0))
    assert changed.tools is before.tools
    assert (changed.prompts is before.prompts, changed.resources is before.resources) == (False, False)
