"""What is true of every policy that is shipped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from airlock.model.decision import Decision
from airlock.policy.embedded import EmbeddedEngine
from tests.policy.policies import SHIPPED, partial_questions, question, shipped

ENGINES = {name: EmbeddedEngine(shipped(name)) for name in SHIPPED}


def decide(name: str, partial: dict[str, Any], phase: str) -> Decision:
    return ENGINES[name].decide(question(partial | {"phase": phase}))


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=200)
@given(partial=partial_questions)
def test_what_list_hides_call_denies(name: str, partial: dict[str, Any]) -> None:
    if not decide(name, partial, "list").allow:
        assert not decide(name, partial, "call").allow


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=100)
@given(partial=partial_questions)
def test_nobody_reaches_a_target_of_another_tenant(name: str, partial: dict[str, Any]) -> None:
    partial["target"] |= {"tenant": "umbrella"}
    assert decide(name, partial, partial["phase"]).reason == "tenant_mismatch"


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=100)
@given(partial=partial_questions)
def test_without_a_known_role_nothing_is_allowed(name: str, partial: dict[str, Any]) -> None:
    partial["subject"] |= {"roles": ["guest", "Admin"]}
    assert not decide(name, partial, partial["phase"]).allow


@pytest.mark.parametrize("level", ["high", "critical"])
@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=50)
@given(partial=partial_questions)
def test_a_dangerous_tool_needs_an_admin_or_an_approval(
    name: str, level: str, partial: dict[str, Any]
) -> None:
    partial["target"] |= {"sensitivity": level}
    decision = decide(name, partial, "call")
    assert not decision.allow or decision.approval or "admin" in partial["subject"]["roles"]
