"""CACAO 2.0: what goes out is valid and comes back as the same plan; what comes in is not active.

The official schemas rely on keywords that their declared draft ignores, so the tests also hold what the
specification says of step references.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident.playbooks import cacao, cacao_import, library
from airlock.incident.playbooks.compile import compile_playbook
from airlock.incident.playbooks.problem import PlaybookError
from airlock.model.playbook import Manual, Plan
from tests.incident.playbooks.texts import WHOLE

BASE = "https://raw.githubusercontent.com/oasis-open/cacao-json-schemas/main/"
FILES: dict[str, Any] = json.loads((Path(__file__).parent / "cacao_schemas.json").read_text())["schemas"]
PLANS = {
    "whole": compile_playbook(WHOLE).plan,
    **{id: each.compiled.plan for id, each in library.shelves(None).items() if each.compiled is not None},
}


@pytest.fixture(scope="module")
def schema() -> jsonschema_rs.Draft7Validator:
    registry = jsonschema_rs.Registry([(BASE + path, schema) for path, schema in FILES.items()])
    return jsonschema_rs.Draft7Validator(FILES["schemas/playbook.json"], registry=registry)


def imported(document: dict[str, Any]) -> Plan:
    return cacao_import.read(json.dumps(document).encode())[1].plan


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_what_goes_out_is_valid_and_comes_back_as_the_same_plan(
    plan: Plan, schema: jsonschema_rs.Draft7Validator
) -> None:
    document = cacao.export(plan)
    assert [str(error) for error in schema.iter_errors(document)] == []
    steps = document["workflow"]
    leads = {
        to
        for step in steps.values()
        for key in ("on_completion", "on_success", "on_failure")
        if (to := step.get(key))
    }
    assert leads <= steps.keys() and document["workflow_start"] in steps
    assert all(step["agent"] in document["agent_definitions"] for step in steps.values() if "agent" in step)
    assert imported(document) == msgspec.structs.replace(plan, active=False)
    assert imported(document).digest == plan.digest


def foreign(**changes: Any) -> dict[str, Any]:
    """A playbook of somebody else, with commands that a machine could run."""
    action = "action--11111111-1111-4111-8111-111111111111"
    second = "action--22222222-2222-4222-8222-222222222222"
    end = "end--33333333-3333-4333-8333-333333333333"
    start = "start--44444444-4444-4444-8444-444444444444"
    return {
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "name": "Isolate: a \u202ehost\n",
        "description": "what it does",
        "severity": 80,
        "workflow_start": start,
        "workflow": {
            end: {"type": "end"},
            second: {
                "type": "action",
                "commands": [{"type": "http-api", "command": "POST /isolate", "content": "x"}],
                "on_completion": end,
            },
            action: {
                "type": "action",
                "name": "~~~~ \x1b[31mfirst",
                "commands": [{"type": "bash", "command": "rm -rf /\n~~~~action\nescalate()"}],
                "timeout": 5000,
                "on_success": second,
                "on_failure": second,
            },
            start: {"type": "start", "on_completion": action},
        },
    } | changes


def test_commands_from_elsewhere_become_manual_steps() -> None:
    plan = imported(foreign())
    assert (plan.id, plan.severity_floor, plan.active) == ("isolate-a-host", "P1", False)
    assert [step.id for step in plan.steps] == ["step_1", "step_2"]
    first, second = plan.steps
    assert first.do == Manual(language="bash", text="rm -rf /\n~~~~action\nescalate()")
    assert (first.title, first.timeout) == ("~~~~ [31mfirst", 5.0)
    assert second.do == Manual(language="http-api", text="POST /isolate")
    assert (second.on_success, second.on_failure) == ("end", "end")


def test_what_the_extension_says_is_checked_like_any_text() -> None:
    document = cacao.export(PLANS["whole"])
    for step in document["workflow"].values():
        for extension in step.get("step_extensions", {}).values():
            if "call" in extension:
                extension["call"] = 'run.shell(command="id")'
    with pytest.raises(PlaybookError, match=r"there is no action run\.shell"):
        imported(document)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"type": "bundle"}, "no playbook of CACAO"),
        ({"spec_version": "1.0"}, "no playbook of CACAO"),
        ({"workflow_start": "start--x"}, "names no step"),
        ({"workflow": {"start--x": {"type": "while-condition"}}}, "while-condition"),
        ({"workflow": []}, "not understood"),
        ({"name": 5}, "not understood"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(PlaybookError, match=why):
        imported(foreign(**changes))


def test_a_loop_or_a_step_that_is_not_there_is_refused() -> None:
    document = foreign()
    first = document["workflow"]["action--11111111-1111-4111-8111-111111111111"]
    second = document["workflow"]["action--22222222-2222-4222-8222-222222222222"]
    second["on_completion"] = "action--11111111-1111-4111-8111-111111111111"
    with pytest.raises(PlaybookError, match="no loop"):
        imported(document)
    first["on_failure"] = "end--nowhere"
    with pytest.raises(PlaybookError, match="not there"):
        imported(document)


def test_a_document_has_bounds() -> None:
    with pytest.raises(PlaybookError, match="1048576 bytes"):
        cacao_import.read(b" " * (cacao_import.LARGEST + 1))
    place = "action--{:08d}-1111-4111-8111-111111111111".format
    many = {place(n): {"type": "action", "on_completion": place(n + 1)} for n in range(101)}
    start = {"type": "start", "on_completion": place(0)}
    with pytest.raises(PlaybookError, match="100 steps"):
        imported(foreign(workflow={"s": start, **many}, workflow_start="s"))


@given(st.text(max_size=120), st.text(max_size=60), st.text(max_size=60))
def test_hostile_words_come_back_as_plain_text_or_not_at_all(command: str, name: str, title: str) -> None:
    document = foreign(name=title)
    step = document["workflow"]["action--11111111-1111-4111-8111-111111111111"]
    step["commands"][0]["command"], step["name"] = command, name
    try:
        plan = imported(document)
    except PlaybookError:
        return
    assert plan.steps[0].title.isprintable() and plan.title.isprintable()
    assert all(isinstance(each.do, Manual) for each in plan.steps)
