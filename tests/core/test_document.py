from __future__ import annotations

import pytest

from airlock.core.document import Node, parse
from airlock.core.errors import ConfigError


def read(text: str | bytes) -> tuple[Node, list[str]]:
    problems: list[ConfigError] = []
    node = parse(text, lambda line: f"f:{line}", problems)
    return node, [str(problem) for problem in problems]


def refusal(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def test_a_value_stands_where_its_key_stands() -> None:
    node, _ = read("a:\n  b:\n    - x\n    - y\n")
    inner = dict(node.entries)["a"]
    leaf = dict(inner.entries)["b"]
    assert (inner.where, leaf.where, [item.where for item in leaf.items]) == ("f:1", "f:2", ["f:3", "f:4"])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("word", "text"),
        ("'12'", "text"),
        ("12", "number"),
        ("1.5", "number"),
        ("yes", "boolean"),
        ("~", "null"),
        ("", "null"),
        ("2026-01-01", "other"),
        ("!x y", "other"),
        ("!!set {a, b}", "other"),
        ("!!python/tuple [a]", "other"),
        ("!!map a", "other"),
        ("!!map [a]", "other"),
        ("!!seq {a: b}", "other"),
        ("!!str [a]", "other"),
        ("[a]", "list"),
        ("{a: b}", "mapping"),
    ],
)
def test_kinds_of_values(text: str, kind: str) -> None:
    assert read(text)[0].kind == kind


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3: a: given twice (the first is at f:1)"),
        ("s: {k: 1, k: 1}", "f:1: k: given twice (the first is at f:1)"),
        ("a: 1\non: 2\n", "f:2: a key that is not text (put the key in quotes)"),
        ("? [x]\n: 2\n", "f:1: a key that is not text (put the key in quotes)"),
        ("<<: {a: 1}", "f:1: a key that is not text (put the key in quotes)"),
    ],
)
def test_bad_keys_are_problems_and_the_rest_is_read(text: str, problem: str) -> None:
    assert read(text)[1] == [problem]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [1\nb: 2", "f:2: not readable as YAML"),
        ("a: b: c", "f:1: not readable as YAML"),
        ("a: 1\n---\nb: 2\n", "f:2: not readable as YAML"),
        ("a: *nobody", "f:1: not readable as YAML"),
        ("a: &x 1\nb: *x\n", "f:2: an alias"),
        ("a: &x [*x]\n", "f:1: an alias"),
        (b"a: \xff\xff", "f:1: not readable as YAML: not printable UTF-8"),
        ("a: \x00", "f:1: not readable as YAML: not printable UTF-8"),
        ('a: "\\U00110000"', "f:1: not readable as YAML: a number"),
        ('a: "\\UFFFFFFFF"', "f:1: not readable as YAML: a number"),
        (f"%YAML 1.{'9' * 5000}\n---\na: 1", "f:1: not readable as YAML: a number"),
        ("[" * 1500, "f:1: not readable as YAML: nested too deeply"),
    ],
)
def test_what_is_not_one_plain_document_is_refused_with_its_line(text: str | bytes, part: str) -> None:
    assert refusal(text).startswith(part)


def test_expansion_is_refused_at_the_first_alias() -> None:
    bomb = "a: &a [x,x]\n" + "".join(
        f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "an alias" in refusal(bomb)
