"""Why a policy decides so: outcome, what it looked at, and a change that flips it."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.policy.explain import Explanation, explain
from airlock.policy.sample import complete
from tests.policy.policies import bundle, shipped


def starter(**changed: Any) -> Explanation:
    return explain(shipped("starter"), complete(changed))


def flip(found: Explanation) -> tuple[object, ...] | None:
    return found.flip and (found.flip.path, found.flip.to, found.flip.outcome)


def test_it_tells_the_outcome_the_reason_and_the_rule() -> None:
    found = starter(subject={"roles": ["viewer"]}, target={"sensitivity": "high"})
    assert (found.outcome, found.reason, found.rule, found.detail) == (
        "deny",
        "role_insufficient",
        "starter.viewer.limit",
        "",
    )
    assert found.revision == shipped("starter").revision


def test_it_tells_the_values_on_the_lines_that_were_evaluated() -> None:
    found = starter(subject={"roles": ["admin"]}, target={"tenant": "acme"})
    assert {seen.path: seen.value for seen in found.looked_at} == {
        "input.subject.roles": ["admin"],
        "input.target.tenant": "acme",
        "input.subject.tenant": "acme",
    }
    assert {seen.file for seen in found.looked_at} == {"starter.rego"}


FLIPS: list[tuple[dict[str, Any], tuple[object, ...]]] = [
    ({}, ("input.subject.roles", ("admin",), "allow")),
    ({"subject": {"roles": ["viewer"]}}, ("input.subject.roles", (), "deny")),
    (
        {"subject": {"roles": ["admin"]}, "target": {"tenant": "globex"}},
        ("input.subject.tenant", "globex", "allow"),
    ),
]


@pytest.mark.parametrize(("changed", "expected"), FLIPS)
def test_it_names_the_first_single_change_that_flips_the_answer(
    changed: dict[str, Any], expected: tuple[object, ...]
) -> None:
    assert flip(starter(**changed)) == expected


SMALL = {
    "allow := input.target.read_only": ("input.target.read_only", False, "deny"),
    "allow := input.target.approved": ("input.target.approved", False, "deny"),
    'allow if input.target.sensitivity == "low"': None,
    'default allow := false\nallow if input.target.sensitivity != "critical"': (
        "input.target.sensitivity",
        "critical",
        "deny",
    ),
    "allow := true": None,
    "default allow := false\nallow if input.subject.roles[_] in data.people": (
        "input.subject.roles",
        ("staff",),
        "allow",
    ),
}


@pytest.mark.parametrize("text", SMALL)
def test_each_attribute_of_the_list_is_tried(text: str) -> None:
    policy = bundle(text, data_json=b'{"people": ["staff", 1], "kinds": {"x": "no identifier"}}')
    assert flip(explain(policy, complete({}))) == SMALL[text]


def test_an_approval_is_an_outcome_of_its_own() -> None:
    found = starter(subject={"roles": ["developer"]}, target={"sensitivity": "high"})
    assert (found.outcome, flip(found)) == ("approval", ("input.subject.roles", (), "deny"))


def test_a_fault_is_told_with_what_the_engine_said() -> None:
    found = explain(bundle("decision := upper(input.arguments.x)"), complete({"arguments": {"x": 1}}))
    assert (found.outcome, found.reason, found.rule) == ("fault", "policy_error", "")
    assert found.detail == "a.rego:2:34: `upper` expects string argument. Got `1` instead"


def test_aliases_and_missing_parts_are_shown_under_their_full_names() -> None:
    policy = bundle("import input.arguments as args\nallow if args.path.deep == 1\nx if input.v")
    (seen,) = explain(policy, complete({"arguments": {"path": "p"}})).looked_at
    assert (seen.path, seen.value, seen.line) == ("input.arguments.path.deep", None, 3)
