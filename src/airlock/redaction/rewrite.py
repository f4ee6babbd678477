"""Replace what a scanner finds by `[REDACTED:detector]`, in text, in JSON values and over neighbouring texts.

What needs no change comes back as the same object with empty counts: one pass over all of it tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airlock.mcp.strict import is_array, is_object
from airlock.redaction.split import GOES_ON, crossing
from airlock.redaction.validate import is_card

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airlock.redaction.scan import Scanner
    from airlock.redaction.urls import UrlRule

Counts = dict[str, int]
"""How many hits, by detector; `url_blocked` for addresses."""

URL_BLOCKED = "url_blocked"
URL_PLACEHOLDER = "[REDACTED:url]"

SHORTEST_CARD = 10**13
"""A number below is no number of a card."""

APART = "\n\n"
"""Between texts that are looked at in one pass: a run of base64 goes on behind a single line break."""

_NUMBERS = (int, float)

_Span = tuple[int, int, str]
"""Start, end, and what stands there instead."""


def placeholder(detector: str) -> str:
    """What stands in place of a hit."""
    return f"[REDACTED:{detector}]"


class Redactor:
    """A scanner and, where addresses are held to a list, the rule for them. It has no state.

    Every method takes `hosts`, a set to which the hosts of blocked addresses are added: the only part of an
    address that a record may name.
    """

    def __init__(self, scanner: Scanner, urls: UrlRule | None = None) -> None:
        self._scanner = scanner
        self._urls = urls

    def text(self, text: str, hosts: set[str] | None = None) -> tuple[str, Counts]:
        """One text."""
        counts: Counts = {}
        return self._text(text, counts, set() if hosts is None else hosts), counts

    def texts(self, texts: list[str], hosts: set[str] | None = None) -> tuple[list[str], Counts]:
        """Neighbouring texts, as many as came: also what is split over several of them.

        Each part of a split secret becomes a placeholder; it counts once.
        """
        counts: Counts = {}
        named: set[str] = set() if hosts is None else hosts
        unblocked = [self._without_links(text, counts, named) for text in texts]
        split = crossing(self._scanner, unblocked)
        if not split and self._clean(unblocked):
            return (unblocked if counts else texts), counts
        parts: list[list[_Span]] = [[] for _ in unblocked]
        for hit in split:
            _count(counts, hit.detector)
            for at, start, end in hit.parts:
                parts[at].append((start, end, hit.detector))
        written = [self._without_secrets(*each, counts) for each in zip(unblocked, parts, strict=True)]
        return (written if counts else texts), counts

    def value(self, value: Any, hosts: set[str] | None = None) -> tuple[Any, Counts]:
        """A JSON value: strings at any depth, keys too; a number that is one of a card becomes 0.

        Kinds never change (text stays text, a number a number). A placeholder may still break a length, a
        pattern or an enumeration of a schema: that is for the caller to check. The value that came is not
        changed. What stands under a key such as `password` goes whole.
        """
        counts: Counts = {}
        strings, suspect = self._strings(value)
        if (
            not suspect
            and self._clean(strings)
            and (self._urls is None or not self._urls.find(APART.join(strings)))
        ):
            return value, counts
        changed = self._value(value, "", counts, set() if hosts is None else hosts)
        return (changed, counts) if counts else (value, counts)

    def _clean(self, strings: Sequence[str]) -> bool:
        return self._scanner.clean(APART.join(strings))

    def _strings(self, value: Any) -> tuple[list[str], bool]:
        """All strings of a value, and whether a number or the name of a field asks for a closer look."""
        strings: list[str] = []
        suspect = False
        nodes: list[tuple[str, Any]] = [("", value)]
        member = self._scanner.member
        for key, node in nodes:
            kind = node.__class__
            if kind is str:
                strings.append(node)
                suspect = suspect or member(key, node) is not None
            elif kind is dict:
                strings.extend(node)
                nodes.extend(node.items())
            elif kind is list:
                nodes.extend([(key, item) for item in node])
            elif kind in _NUMBERS:
                suspect = suspect or self._number(key, node) is not None
        return strings, suspect

    def _number(self, key: str, value: float) -> str | None:
        """The detector for a number, also for one with a sign or written as `4.0e15`."""
        number = abs(int(value)) if value == value // 1 else 0
        if number > SHORTEST_CARD and self._scanner.looks_for("credit_card") and is_card(str(number)):
            return "credit_card"
        return self._scanner.member(key, str(number)) if number else None

    def _value(self, value: Any, key: str, counts: Counts, hosts: set[str]) -> Any:
        if isinstance(value, str):
            name = self._scanner.member(key, value)
            if name is None:
                return self._text(value, counts, hosts)
            _count(counts, name)
            return placeholder(name)
        if is_object(value):
            return self._object(value, counts, hosts)
        if is_array(value):
            return self._array(value, key, counts, hosts)
        if type(value) in _NUMBERS and (name := self._number(key, value)) is not None:
            _count(counts, name)
            return type(value)()
        return value

    def _array(self, value: list[Any], key: str, counts: Counts, hosts: set[str]) -> list[Any]:
        """Items by themselves, except for a file that came as a list of its lines and holds a private key."""
        lines = [item if isinstance(item, str) else "" for item in value]
        parts: dict[int, list[_Span]] = {}
        for hit in crossing(self._scanner, lines):
            if hit.detector == GOES_ON:
                _count(counts, hit.detector)
                for at, start, end in hit.parts:
                    parts.setdefault(at, []).append((start, end, hit.detector))
        return [
            self._without_secrets(item, parts[at], counts)
            if at in parts
            else self._value(item, key, counts, hosts)
            for at, item in enumerate(value)
        ]

    def _object(self, value: dict[str, Any], counts: Counts, hosts: set[str]) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for key, item in value.items():
            name = base = self._text(key, counts, hosts)
            copies = 1
            while name in written:
                # Two keys that became the same placeholder are still two members.
                copies += 1
                name = f"{base} {copies}"
            written[name] = self._value(item, key, counts, hosts)
        return written

    def _text(self, text: str, counts: Counts, hosts: set[str]) -> str:
        return self._without_secrets(self._without_links(text, counts, hosts), (), counts)

    def _without_links(self, text: str, counts: Counts, hosts: set[str]) -> str:
        links = self._urls.find(text) if self._urls else []
        if not links:
            return text
        hosts.update(link.host for link in links)
        _count(counts, URL_BLOCKED, len(links))
        return _replaced(text, ((link.start, link.end, URL_PLACEHOLDER) for link in links))

    def _without_secrets(self, text: str, parts: Sequence[_Span], counts: Counts) -> str:
        """The text without its hits and without `parts` of split ones, which were counted before."""
        spans = list(parts)
        for hit in self._scanner.find(text):
            spans.append((hit.start, hit.end, hit.detector))
            if not any(start < hit.end and hit.start < end for start, end, _ in parts):
                _count(counts, hit.detector)
        if not spans:
            return text
        spans.sort(key=lambda span: (span[0], -span[1]))
        return _replaced(text, ((start, end, placeholder(name)) for start, end, name in spans))


def _count(counts: Counts, name: str, number: int = 1) -> None:
    counts[name] = counts.get(name, 0) + number


def _replaced(text: str, spans: Iterable[_Span]) -> str:
    """The text with other words for its spans, which come in order; what overlaps goes too."""
    parts: list[str] = []
    at = 0
    for start, end, instead in spans:
        if start >= at:
            parts += (text[at:start], instead)
        at = max(at, end)
    return "".join((*parts, text[at:]))
