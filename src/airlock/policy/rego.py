"""The one module that touches the Rego engine (regorus): its methods as types, its errors as values.

An engine belongs to the thread that made it and holds the interpreter lock while it runs. On misuse it
raises pyo3's `PanicException`, which is no `Exception`. Its errors carry a native stack trace when
RUST_BACKTRACE is set; only the part before it is for people. Its RVM is never used: it crashes.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from airlock.policy.problem import PolicyRejected, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

UNDEFINED = '"<undefined>"'
"""What the engine answers for a rule without a value."""

_PLACE = re.compile(r"^--> (?P<file>.*):(?P<line>\d+):(?P<col>\d+)$", re.MULTILINE)
_MESSAGE = re.compile(r"^error: (?P<text>.*)$", re.MULTILINE)


class Rego(Protocol):
    """The part of regorus' `Engine` that is used."""

    def add_policy(self, path: str, rego: str, /) -> str: ...
    def add_data_json(self, data: str, /) -> None: ...
    def set_input_json(self, question: str, /) -> None: ...
    def eval_rule_as_json(self, rule: str, /) -> str: ...
    def get_ast_as_json(self) -> str: ...
    def set_enable_coverage(self, enable: bool, /) -> None: ...
    def get_coverage_report_as_json(self) -> str: ...
    def set_gather_prints(self, gather: bool, /) -> None: ...
    def take_prints(self) -> list[str]: ...
    def clone(self) -> Rego: ...


def new_engine() -> Rego:
    """Imported by name: the extension ships no types, and roles without policy never load it."""
    return cast("Rego", import_module("regorus").Engine())


def compile_modules(modules: Mapping[str, bytes], data: Mapping[str, Any]) -> Rego:
    """An engine with these modules and this data. Raises PolicyRejected with every module that fails."""
    engine = new_engine()
    problems: list[Problem] = []
    for path, text in modules.items():
        try:
            engine.add_policy(path, text.decode())
        except RuntimeError as error:
            problems.append(describe(error, default_file=path))
    if problems:
        raise PolicyRejected(problems)
    try:
        engine.add_data_json(msgspec.json.encode(data).decode())
    except RuntimeError as error:
        raise PolicyRejected([describe(error, default_file="data.json")]) from error
    return engine


def describe(error: BaseException, *, default_file: str) -> Problem:
    """The engine's error as one line of text at its place."""
    text = str(error).split("\nStack backtrace:", 1)[0].strip()
    message = _MESSAGE.search(text)
    place = _PLACE.search(text)
    return Problem(
        file=place["file"] if place else default_file,
        line=int(place["line"]) if place else 0,
        col=int(place["col"]) if place else 0,
        message=message["text"].strip() if message else text.splitlines()[0] if text else repr(error),
    )


def is_panic(error: BaseException) -> bool:
    """True for the engine's panic. Its class cannot be imported: pyo3 makes one per extension."""
    return type(error).__module__ == "pyo3_runtime"
