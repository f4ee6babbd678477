"""Conditions of steps: a part of CEL (Common Expression Language), checked before anything runs.

Texts, whole numbers, `true`, `false`, lists of texts; `== != < <= > >= in && || !`, brackets, and on a text
`startsWith endsWith contains` and `size()`. Names are the variables of a playbook, all texts, and `steps.ID`,
the state of a step as a text (`pending` until it begins). A condition that compiles cannot fail: types are
checked there, and there is no way to write one that takes long.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NoReturn

import msgspec

LONGEST = 500
"""Characters of a condition."""

DEEPEST = 20
"""Levels of brackets."""

PENDING = "pending"
"""State of a step that has not begun."""

Kind = Literal["text", "number", "bool", "list"]
Values = Mapping[str, str]
"""Variables by name, and states of steps as `steps.ID`."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\["\\])*"|'(?:[^'\\\n]|\\['\\])*')|(?P<number>-?[0-9]{1,15}\b)"""
    r"""|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!()\[\],.]))"""
)
_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
}
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ConditionError(ValueError):
    """A condition that is none, and why."""


class Term(msgspec.Struct, frozen=True):
    """A part of a condition: what it gives, and how."""

    kind: Kind
    value: Callable[[Values], Any]


def compile_condition(text: str, names: Collection[str]) -> Callable[[Values], bool]:
    """The condition as a function of the values. `names`: what it may ask for. Raises `ConditionError`."""
    if len(text) > LONGEST:
        raise ConditionError(f"a condition has {LONGEST} characters at most")
    reader = _Reader(_tokens(text), names)
    term = reader.either()
    reader.expect("")
    if term.kind != "bool":
        raise ConditionError("a condition is true or false: compare something")
    return term.value


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None or token.lastgroup is None:
            raise ConditionError(f"{text[at : at + 12].strip()!r} is not understood")
        found.append((token.lastgroup, token[token.lastgroup]))
        at = token.end()
    return found


class _Reader:
    """Reads tokens by recursive descent; one method for each level of the grammar."""

    def __init__(self, tokens: list[tuple[str, str]], names: Collection[str]) -> None:
        self._tokens = [*tokens, ("", "")]
        self._at = 0
        self._depth = 0
        self._names = names

    def either(self) -> Term:
        term = self._both()
        while self._take("||"):
            term = _joined(term, self._both(), any)
        return term

    def _both(self) -> Term:
        term = self._relation()
        while self._take("&&"):
            term = _joined(term, self._relation(), all)
        return term

    def _relation(self) -> Term:
        left = self._unary()
        word = self._tokens[self._at][1]
        if word in _ORDERS:
            self._at += 1
            return _compared(word, left, self._unary())
        if self._tokens[self._at] == ("name", "in"):
            self._at += 1
            return _member(left, self._unary())
        return left

    def _unary(self) -> Term:
        if not self._take("!"):
            return self._attributed(self._primary())
        inner = self._nested(self._unary)
        if inner.kind != "bool":
            raise ConditionError("! stands before what is true or false")
        return Term("bool", lambda values: not inner.value(values))

    def _attributed(self, term: Term) -> Term:
        if not self._take("."):
            return term
        word = self._tokens[self._at][1]
        self._at += 1
        if term.kind != "text" or word not in (*_TESTS, "size"):
            raise ConditionError(f"there is no .{word} here: a text has {', '.join(_TESTS)} and size")
        self.expect("(")
        if word == "size":
            self.expect(")")
            return Term("number", lambda values: len(term.value(values)))
        argument = self._nested(self._unary)
        self.expect(")")
        if argument.kind != "text":
            raise ConditionError(f"{word} takes a text")
        test = _TESTS[word]
        return Term("bool", lambda values: test(term.value(values), argument.value(values)))

    def _primary(self) -> Term:
        kind, word = self._tokens[self._at]
        self._at += 1
        if kind == "text":
            plain = re.sub(r"\\(.)", r"\1", word[1:-1])
            return Term("text", lambda _: plain)
        if kind == "number":
            number = int(word)
            return Term("number", lambda _: number)
        if kind == "name":
            return self._name(word)
        if word == "(":
            inner = self._nested(self.either)
            self.expect(")")
            return inner
        if word == "[":
            return self._list()
        _unexpected(word)

    def _name(self, word: str) -> Term:
        if word in ("true", "false"):
            return Term("bool", lambda _: word == "true")
        if word == "steps":
            self.expect(".")
            word = f"steps.{self._tokens[self._at][1]}"
            self._at += 1
        if word not in self._names:
            raise ConditionError(f"nothing is called {word}: {', '.join(sorted(self._names))}")
        return Term("text", lambda values: values.get(word, PENDING if word.startswith("steps.") else ""))

    def _list(self) -> Term:
        terms: list[Term] = []
        while not self._take("]"):
            if terms:
                self.expect(",")
            terms.append(self._nested(self._unary))
        if any(term.kind != "text" for term in terms):
            raise ConditionError("a list holds texts")
        return Term("list", lambda values: [term.value(values) for term in terms])

    def _nested(self, read: Callable[[], Term]) -> Term:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConditionError(f"a condition has {DEEPEST} levels at most")
        term = read()
        self._depth -= 1
        return term

    def _take(self, sign: str) -> bool:
        if self._tokens[self._at] != ("sign", sign):
            return False
        self._at += 1
        return True

    def expect(self, sign: str) -> None:
        """Step over this sign, or the end (an empty text)."""
        if self._tokens[self._at][1] != sign or self._tokens[self._at][0] not in ("sign", ""):
            _unexpected(self._tokens[self._at][1])
        self._at += 1


def _joined(one: Term, other: Term, join: Callable[[Any], bool]) -> Term:
    if one.kind != "bool" or other.kind != "bool":
        raise ConditionError("&& and || stand between what is true or false")
    return Term("bool", lambda values: join(term.value(values) for term in (one, other)))


def _compared(word: str, left: Term, right: Term) -> Term:
    if left.kind != right.kind or left.kind == "list":
        raise ConditionError(f"{word} compares two of a kind, not {left.kind} and {right.kind}")
    if left.kind == "bool" and word not in ("==", "!="):
        raise ConditionError(f"{word} does not compare true and false")
    order = _ORDERS[word]
    return Term("bool", lambda values: order(left.value(values), right.value(values)))


def _member(left: Term, right: Term) -> Term:
    if left.kind != "text" or right.kind != "list":
        raise ConditionError("in asks whether a text is in a list of texts")
    return Term("bool", lambda values: left.value(values) in right.value(values))


def _unexpected(word: str) -> NoReturn:
    raise ConditionError(f"{word!r} is not expected here" if word else "something is missing at the end")
