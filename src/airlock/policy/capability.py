"""What a policy may use: only what the engine and OPA answer alike, so that a bundle means one thing.

`COMMON` is an allow-list: each name is compared with OPA, call by call, in the tests. Everything else is
refused with its place: functions that the engine lacks, that reach out of the process, that read a clock,
or that answer differently. Where a common function differs only on some values, a warning says on which.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from airlock.policy.problem import Problem
from airlock.policy.syntax import reference, static, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airlock.policy.syntax import Module, Node, Rule

# fmt: off
COMMON = frozenset({
    "abs", "ceil", "concat", "contains", "count", "endswith", "floor", "format_int", "indexof",
    "indexof_n", "intersection", "is_array", "is_boolean", "is_null", "is_number", "is_object",
    "is_set", "is_string", "lower", "max", "min", "product", "replace", "round", "sort", "split",
    "startswith", "substring", "sum", "to_number", "trim", "trim_left", "trim_prefix", "trim_right",
    "trim_space", "trim_suffix", "type_name", "union", "upper", "walk", "array.concat", "array.reverse",
    "array.slice", "base64.decode", "base64.encode", "base64.is_valid", "base64url.decode",
    "base64url.encode", "glob.match", "glob.quote_meta", "hex.decode", "hex.encode", "json.filter",
    "json.is_valid", "json.remove", "json.unmarshal", "net.cidr_contains", "net.cidr_is_valid",
    "object.filter", "object.get", "object.keys", "object.remove", "object.subset", "object.union",
    "object.union_n", "regex.find_n", "regex.is_valid", "regex.match", "regex.replace", "regex.split",
    "semver.compare", "semver.is_valid", "strings.any_prefix_match", "strings.any_suffix_match",
    "strings.count", "strings.reverse", "units.parse", "units.parse_bytes", "urlquery.decode",
    "urlquery.encode",
})
# fmt: on

IN_TESTS = COMMON | {"print", "sprintf"}

NAMESPACES = frozenset(name.split(".")[0] for name in COMMON if "." in name) | {
    "io",
    "crypto",
    "http",
    "time",
}

UNICODE_CLASS = re.compile(r"\\[dwsbDWSB]")
WIDE_GLOB = re.compile(r"\*\*|[?\[{]")

IMPORTS = ("rego.v1", "future.keywords")


def check_module(module: Module, functions: frozenset[tuple[str, ...]], *, test: bool) -> Iterator[Problem]:
    """Everything in one module that may not be there."""
    for entry in module.imports:
        name = ".".join(str(key) for key in entry.path)
        if entry.path[0] not in {"data", "input"} and not name.startswith(IMPORTS):
            yield Problem(file=module.file, line=entry.line, col=entry.col, message=f"cannot import {name}")
    for rule in module.rules:
        yield from _check_name(rule)
        for kind, body in walk(rule.node):
            if kind == "Call":
                yield from _check_call(module, body, functions, IN_TESTS if test else COMMON)
            elif kind == "With" and not test:
                yield _at(module.file, body["span"], "`with` replaces facts: only tests may do that")


def functions_of(modules: Sequence[Module]) -> frozenset[tuple[str, ...]]:
    """Full paths of the functions that the modules define."""
    return frozenset(
        (*module.package, *static(rule.path))
        for module in modules
        for rule in module.rules
        if rule.kind == "Func" or (rule.kind == "Default" and rule.node["Default"]["args"])
    )


def differences(modules: Sequence[Module], data: Any) -> Iterator[Problem]:
    """Warnings: texts that the engine and OPA would read differently."""
    for module in modules:
        called = {name: span for rule in module.rules for name, span in _calls(rule)}
        texts = [
            (body["value"], body["span"])
            for rule in module.rules
            for kind, body in walk(rule.node)
            if kind in {"String", "RawString"}
        ]
        if any(name.startswith("regex.") for name in called):
            yield from _suspects(module.file, texts, UNICODE_CLASS, REGEX_HINT)
            yield from _suspects("data.json", _strings(data), UNICODE_CLASS, REGEX_HINT)
        if "glob.match" in called:
            yield from _suspects(module.file, texts, WIDE_GLOB, GLOB_HINT)
            yield from _suspects("data.json", _strings(data), WIDE_GLOB, GLOB_HINT)
        for name in sorted(called.keys() & {"lower", "upper"}):
            yield _at(module.file, called[name], f"{name}: letters outside ASCII may change otherwise in OPA")


REGEX_HINT = (
    "\\d \\w \\s \\b in a pattern take all of Unicode here and only ASCII in OPA: write [0-9], [a-z] ..."
)
GLOB_HINT = "in a glob only `*` means the same here and in OPA: write several patterns, or a regex"


def _check_name(rule: Rule) -> Iterator[Problem]:
    name = str(rule.path[0])
    if name in COMMON or (name in NAMESPACES and len(rule.path) > 1):
        message = f"{name!r} is the name of a built-in function: call the rule something else"
        yield Problem(file=rule.file, line=rule.line, col=rule.col, message=message)


def _check_call(
    module: Module, call: Node, functions: frozenset[tuple[str, ...]], allowed: frozenset[str]
) -> Iterator[Problem]:
    path = static(reference(call["fcn"]))
    alias = module.aliases.get(path[0]) if path else None
    full = (*static(alias), *path[1:]) if alias else path
    if full[:1] == ("data",):
        known = full[1:] in functions
    else:
        known = (*module.package, *full) in functions or ".".join(full) in allowed
    if not known:
        yield _at(module.file, call["span"], f"function {'.'.join(full)} is not available to policies")


def _calls(rule: Rule) -> Iterator[tuple[str, Node]]:
    for kind, body in walk(rule.node):
        if kind == "Call":
            yield ".".join(static(reference(body["fcn"]))), body["span"]


def _suspects(
    file: str, texts: Sequence[tuple[str, Node]], pattern: re.Pattern[str], hint: str
) -> Iterator[Problem]:
    for text, span in texts:
        if pattern.search(text):
            yield _at(file, span, f"{text!r}: {hint}")


def _strings(data: Any) -> list[tuple[str, Node]]:
    found: list[tuple[str, Node]] = []
    pending = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            found.append((item, {"line": 0, "col": 0}))
        elif isinstance(item, list):
            pending.extend(cast("list[Any]", item))
        elif isinstance(item, dict):
            pending.extend(cast("Node", item).values())
    return found


def _at(file: str, span: Node, message: str) -> Problem:
    return Problem(file=file, line=span["line"], col=span["col"], message=message)
