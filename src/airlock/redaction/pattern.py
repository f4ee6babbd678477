"""RE2 with types: patterns of which no text can make more than a linear effort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, AnyStr, Protocol, TypeVar, cast

import re2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MEMORY = 16 * 1024 * 1024
"""Bytes for the automaton of a set. It is built as texts ask for it, and thrown away when it is full."""


_Text_co = TypeVar("_Text_co", str, bytes, covariant=True)


class Match(Protocol[_Text_co]):
    """Where a pattern matched; group 0 is all of it."""

    def span(self, group: int = 0) -> tuple[int, int]: ...
    def end(self) -> int: ...
    def group(self) -> _Text_co: ...


class Pattern(Protocol):
    """A compiled pattern, for text and for bytes (UTF-8). Text must have no lone surrogates."""

    groups: int

    def search(self, text: AnyStr, pos: int = 0) -> Match[AnyStr] | None: ...
    def match(self, text: AnyStr) -> Match[AnyStr] | None: ...
    def fullmatch(self, text: AnyStr) -> Match[AnyStr] | None: ...
    def finditer(self, text: AnyStr) -> Iterator[Match[AnyStr]]: ...


_re2 = cast("Any", re2)


def compiled(pattern: str) -> Pattern:
    """Raises `re2.error` for what is no pattern."""
    return _re2.compile(pattern)


def any_of(patterns: Iterable[str]) -> Callable[[bytes], list[int] | None]:
    """A function that tells which of the patterns occur in a text, by their number, in one pass; None for
    none of them."""
    options = _re2.Options()
    options.max_mem = MEMORY
    found = _re2.Set.SearchSet(options)
    for pattern in patterns:
        found.Add(pattern)
    found.Compile()
    return found.Match
