"""May this be called at all: the definition is the approved one, and the arguments fit it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.core.errors import Refused, Rejected
from airlock.gateway.admit import MAX_COMPILED, Admit
from airlock.model.call import Client, Routed
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN_CLIENT,
    authenticated,
    call_message,
    definition,
    identified,
    registered,
    routed,
    snapshot,
)

STRICT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "pattern": "^(a+)+$"},
        "region": {"type": "string", "x-mcp-header": "Region"},
    },
    "additionalProperties": False,
}


def call(
    arguments: dict[str, Any],
    *,
    schema: dict[str, Any] = STRICT,
    client: Client = LEGACY_CLIENT,
    headers: dict[str, str] | None = None,
) -> Routed:
    at = snapshot(registered("docs", definition(inputSchema=schema)))
    caller = authenticated(at=at, headers=headers)
    params = call_message(arguments=arguments)["params"]
    return routed(identified(params=params, caller=caller, client=client))


def refused(of: Routed) -> Refused:
    with pytest.raises(Refused) as error:
        Admit()(of)
    return error.value


def test_arguments_that_fit_pass() -> None:
    of = call({"text": "aaa"})
    assert Admit()(of).routed is of


def test_arguments_that_do_not_fit_are_named_with_their_place() -> None:
    error = refused(call({"text": 5}))
    assert (error.code, error.policy_reason) == (40301, "arguments_invalid")
    assert "text: 5 is not of type" in error.text


def test_a_problem_of_the_whole_is_named_without_a_place() -> None:
    assert "input schema: Additional properties" in refused(call({"other": 1})).text


def test_a_long_problem_is_cut() -> None:
    assert len(refused(call({"text": ["x" * 10_000]})).text) < 400


def test_a_pattern_cannot_run_long() -> None:
    assert refused(call({"text": "a" * 50_000 + "b"})).code == 40301


def test_an_optional_argument_that_is_null_counts_as_absent_for_everything_that_follows() -> None:
    of = call({"text": None, "region": "eu"})
    assert Admit()(of).routed.arguments == {"region": "eu"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"id": None}, "id: null is not of type"),
        ({"other": None, "id": 1}, "other"),
        ({"in": {"deep": None}, "id": 1}, "in/deep: null is not of type"),
        ({"word": None, "id": 2, "in": 3}, "in: 3 is not of type"),
    ],
)
def test_another_null_is_what_it_is(arguments: dict[str, Any], said: str) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "word": {"type": "string"},
            "in": {"type": "object", "properties": {"deep": {"type": "boolean"}}},
        },
        "required": ["id"],
        "additionalProperties": False,
    }
    assert said in refused(call(arguments, schema=schema)).text


def test_another_case_of_a_declared_argument_is_refused() -> None:
    error = refused(call({"Text": "a"}))
    assert isinstance(error, Rejected)
    assert (error.code, error.reason) == (-32602, "case_variant_argument")


@pytest.mark.parametrize("sent", [{}, {"mcp-param-region": "us"}])
def test_a_modern_caller_must_say_the_same_in_the_headers(sent: dict[str, str]) -> None:
    error = refused(call({"region": "eu"}, client=MODERN_CLIENT, headers=sent))
    assert isinstance(error, Rejected)
    assert error.code == -32020


def test_a_modern_caller_that_does_passes() -> None:
    assert Admit()(call({"region": "eu"}, client=MODERN_CLIENT, headers={"mcp-param-region": "eu"}))


def test_a_legacy_caller_has_no_such_headers() -> None:
    assert Admit()(call({"region": "eu"}))


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"pin": "changed"}, "waits for approval"),
        ({"defect": "its schema is not an object"}, "cannot be offered"),
    ],
)
def test_a_tool_that_is_not_the_approved_one_is_not_called(changed: dict[str, Any], word: str) -> None:
    of = routed()
    error = refused(msgspec.structs.replace(of, item=msgspec.structs.replace(of.item, **changed)))
    assert (error.code, error.reason) == (40901, "definition_not_approved")
    assert word in error.text
    assert error.scope == {"kind": "definition", "server": "docs", "name": "echo"}


def test_compiled_checks_are_kept_up_to_a_bound() -> None:
    admit, of = Admit(), routed()
    for number in range(MAX_COMPILED + 10):
        admit(msgspec.structs.replace(of, item=msgspec.structs.replace(of.item, digest=str(number))))
    admit(msgspec.structs.replace(of, item=msgspec.structs.replace(of.item, digest=str(MAX_COMPILED))))
    assert len(admit) == MAX_COMPILED
