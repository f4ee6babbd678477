"""Conditions: a part of CEL that is checked as a whole before anything runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident.playbooks.conditions import ConditionError, compile_condition

NAMES = ("severity", "tool", "steps.freeze", "steps.tell")
VALUES = {"severity": "P1", "tool": "delete_all", "steps.freeze": "succeeded"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("severity == 'P1'", True),
        ('severity != "P1"', False),
        ("severity in ['P0', 'P1']", True),
        ("severity in []", False),
        ("!(severity == 'P0') && tool.startsWith('delete')", True),
        ("tool.endsWith('one') || tool.contains('_a')", True),
        ("tool.size() > 3 && tool.size() <= 10", True),
        ("tool.size() < -1", False),
        ("steps.freeze == 'succeeded' && steps.tell == 'pending'", True),
        ("true || false", True),
        ("false || true && false", False),
        ("true == false", False),
        ("'it\\'s' == \"it's\"", True),
        ("!!true", True),
        ("severity < 'P2'", True),
    ],
)
def test_a_condition_holds_or_not(text: str, *, holds: bool) -> None:
    assert compile_condition(text, NAMES)(VALUES) is holds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "missing at the end"),
        ("severity", "true or false"),
        ("severity ==", "missing at the end"),
        ("severity = 'P1'", "not understood"),
        ("severity == 'P1' 'P2'", "not expected"),
        ("severity == 1", "two of a kind"),
        ("[] == []", "two of a kind"),
        ("true < false", "does not compare"),
        ("'a' in 'abc'", "list of texts"),
        ("severity in [1]", "a list holds texts"),
        ("severity && true", "between what is true or false"),
        ("!severity", "before what is true"),
        ("user == 'x'", "nothing is called user"),
        ("steps.nothing == 'x'", "nothing is called steps.nothing"),
        ("tool.exec('x')", "no .exec here"),
        ("tool.startsWith(1)", "takes a text"),
        ("tool.size().size() > 1", "not expected"),
        ("__import__('os')", "nothing is called __import__"),
        ("(" * 30 + "true" + ")" * 30, "20 levels"),
        ("!" * 30 + "true", "20 levels"),
        ("tool == '" + "x" * 600 + "'", "500 characters"),
        ("(true", "missing at the end"),
        ("[true", "missing at the end"),
        ("== true", "not expected"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConditionError, match=why):
        compile_condition(text, NAMES)


@given(st.text(alphabet="severity tool.size()!&|'\"=<>[],P01", max_size=40), st.text(max_size=10))
def test_what_compiles_never_fails(text: str, value: str) -> None:
    try:
        condition = compile_condition(text, NAMES)
    except ConditionError:
        return
    assert condition({"severity": value}) in (True, False)
