"""The words that the program says, from its source: reasons of refusals and records, events of the log."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "airlock"
WORD = re.compile(r"[a-z][a-z0-9]*(?:[._][a-z0-9]+)*")
LEVELS = {"debug", "info", "warning", "error", "critical"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def trees() -> Iterator[ast.Module]:
    """Every module of the program."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield ast.parse(path.read_text(), str(path))


def reasons() -> set[str]:
    """Every word that is given as `reason`: by position, by name, as a default, or through a variable."""
    modules = list(trees())
    takers = {name: place for module in modules for name, place in _takers(module)}
    found: set[str] = set()
    for module in modules:
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                found |= _given(node, takers)
            elif isinstance(node, ast.Assign) and _names(node) == {"reason"}:
                found |= _texts(node.value)
            elif isinstance(node, Function):
                found |= _defaults(node)
    return {word for word in found if WORD.fullmatch(word)}


def events() -> set[str]:
    """Every event of a log line: said directly, chosen by a condition, or through a variable."""
    found: set[str] = set()
    for module in trees():
        for node in ast.walk(module):
            if isinstance(node, Function):
                found |= _said(node)
    return {word for word in found if WORD.fullmatch(word)}


def _takers(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Functions and classes with a parameter `reason`, and its position in a call."""
    for node in ast.walk(module):
        for inner in getattr(node, "body", []) if isinstance(node, ast.Module | ast.ClassDef) else []:
            if not isinstance(inner, Function):
                continue
            parameters = [argument.arg for argument in inner.args.args]
            method = isinstance(node, ast.ClassDef)
            if "reason" in parameters:
                name = (
                    node.name if isinstance(node, ast.ClassDef) and inner.name == "__init__" else inner.name
                )
                yield name, parameters.index("reason") - method


def _given(call: ast.Call, takers: dict[str, int]) -> set[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    place = takers.get(name, len(call.args))
    found = _texts(call.args[place]) if place < len(call.args) else set[str]()
    return found.union(*(_texts(keyword.value) for keyword in call.keywords if keyword.arg == "reason"))


def _defaults(function: Function) -> set[str]:
    arguments = function.args.args
    defaults = zip(reversed(arguments), reversed(function.args.defaults), strict=False)
    return {text for argument, value in defaults if argument.arg == "reason" for text in _texts(value)}


def _said(function: Function) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.args and _is_log(node.func):
            event = node.args[0]
            found |= _variable(event.id, function) if isinstance(event, ast.Name) else _texts(event)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key = node.targets[0].slice
            found |= _texts(node.value) if isinstance(key, ast.Constant) and key.value == "event" else set()
    return found


def _is_log(called: ast.expr) -> bool:
    if isinstance(called, ast.Name):
        return called.id == "log"
    if not isinstance(called, ast.Attribute) or called.attr not in LEVELS:
        return False
    owner = called.value
    name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
    return name.strip("_") in {"log", "logger"}


def _variable(name: str, function: Function) -> set[str]:
    """What a variable can hold: constants, values of a table, and the default of looking it up."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and _names(node) == {name}:
            found |= _texts(node.value)
            if isinstance(node.value, ast.Call):
                table = getattr(node.value.func, "value", None)
                found = found.union(*(_texts(value) for value in getattr(table, "values", [])))
                found = found.union(*(_texts(value) for value in node.value.args[1:]))
    return found


def _names(node: ast.Assign) -> set[str]:
    return {target.id for target in node.targets if isinstance(target, ast.Name)}


def _texts(value: ast.expr) -> set[str]:
    """The texts that an expression can be."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return {value.value}
    if isinstance(value, ast.IfExp):
        return _texts(value.body) | _texts(value.orelse)
    return set()
