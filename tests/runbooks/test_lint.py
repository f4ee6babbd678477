"""A check judges what a command said: one that only looks at exit statuses is an error."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.runbooks.extract import HERE


def checks_by_status_alone(source: str) -> list[str]:
    """Names of registered checks without any assertion on an answer, in themselves or in what they call."""
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    return [
        name for name, node in functions.items() if _registered(node) and not _judges(name, functions, set())
    ]


def _registered(node: ast.FunctionDef) -> bool:
    return any(
        isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "row"
        for call in node.decorator_list
    )


def _judges(name: str, functions: dict[str, ast.FunctionDef], known: set[str]) -> bool:
    known.add(name)
    for node in ast.walk(functions[name]):
        if isinstance(node, ast.Assert) and not _status_alone(node.test):
            return True
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if called in functions and called not in known and _judges(called, functions, known):
            return True
    return False


def _status_alone(test: ast.expr) -> bool:
    """Whether nothing but an exit status is looked at."""
    return {node.attr for node in ast.walk(test) if isinstance(node, ast.Attribute)} == {"rc"}


@pytest.mark.parametrize("path", sorted(HERE.glob("rows_*.py")), ids=lambda path: path.stem)
def test_no_check_looks_at_exit_statuses_alone(path: Path) -> None:
    assert checks_by_status_alone(path.read_text()) == []


def test_the_lint_tells_one_from_the_other() -> None:
    source = """
@row("A-01")
def bad(run):
    shown = run.sh("A-01")
    assert shown.rc == 0

@row("A-02")
@row("A-03")
def good(run):
    assert run.sh("A-02").out == "x"

@row("A-04")
def by_another(run):
    looked(run)

def looked(run):
    shown = run.sh("A-04")
    assert (shown.rc, shown.json) == (0, {})

def no_check(run):
    assert run.rc == 0
"""
    assert checks_by_status_alone(source) == ["bad"]
