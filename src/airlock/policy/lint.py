"""Everything that can be said of a bundle without running it on an input.

The engine compiles the modules here, and a hostile module can keep its parser busy for hours or take the
process down: outside of tests this runs in the child of `airlock.policy.trial` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airlock.core.errors import ConfigError
from airlock.policy.capability import check_module, differences, functions_of
from airlock.policy.problem import PolicyRejected, Problem
from airlock.policy.recursion import check_recursion
from airlock.policy.rego import compile_modules
from airlock.policy.syntax import read_modules
from airlock.policy.undefined import check_heads, check_negations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airlock.policy.bundle import Bundle
    from airlock.policy.syntax import Module

PACKAGE = ("airlock",)
ANSWERS = ("decision", "allow")
"""Rules that may answer; the first that is there does."""


def lint(bundle: Bundle) -> list[Problem]:
    """Warnings. Raises PolicyRejected with everything that forbids the use of the bundle."""
    data = _data(bundle)
    modules = read_modules(compile_modules(bundle.modules, data))
    tests = read_modules(compile_modules(bundle.test_modules, {}))
    every = [*modules, *tests]
    functions = functions_of(modules)
    problems = [*_check_answer(modules), *_check_data(every, data), *check_recursion(every)]
    for module in modules:
        problems.extend(check_module(module, functions, test=False))
        problems.extend(check_heads(module))
    for module in tests:
        problems.extend(check_module(module, functions_of(every), test=True))
    if problems:
        raise PolicyRejected(problems)
    warnings = [*differences(modules, data), *check_negations(modules, data)]
    if not bundle.test_modules and not bundle.golden:
        warnings.append(Problem(file=bundle.origin, message="the bundle has no tests"))
    return warnings


def answer_rule(modules: Sequence[Module]) -> str:
    """`decision` or `allow`; empty when the package `airlock` has neither."""
    names = {rule.path[0] for module in modules if module.package == PACKAGE for rule in module.rules}
    return next((name for name in ANSWERS if name in names), "")


def reject_without_answer(modules: Sequence[Module]) -> None:
    """Raises PolicyRejected when there is no rule to ask, or not one of a single value."""
    problems = _check_answer(modules)
    if problems:
        raise PolicyRejected(problems)


def _check_answer(modules: Sequence[Module]) -> list[Problem]:
    answer = answer_rule(modules)
    if not answer:
        message = "package airlock defines neither `decision` nor `allow`"
        return [Problem(file=modules[0].file, line=1, col=1, message=message)]
    return [
        Problem(
            file=rule.file,
            line=rule.line,
            col=rule.col,
            message=f"`{answer}` must be one value: no set, no function, no `{answer}.part`",
        )
        for module in modules
        if module.package == PACKAGE
        for rule in module.rules
        if rule.path[0] == answer and (len(rule.path) > 1 or rule.kind not in {"Compr", "Default"})
    ]


def _check_data(modules: Sequence[Module], data: dict[str, Any]) -> list[Problem]:
    """A package and a value under the same name would hide each other."""
    return [
        Problem(
            file=module.file,
            line=1,
            col=1,
            message=f"package {'.'.join(module.package)} is also in data.json",
        )
        for module in modules
        if module.package[0] in data
    ]


def _data(bundle: Bundle) -> dict[str, Any]:
    try:
        return bundle.data()
    except ConfigError as error:
        raise PolicyRejected([Problem(file=error.where, message=error.what)]) from error
