"""The front matter of a playbook: what it is for, whose it is, what of it needs nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from difflib import get_close_matches
from typing import Any

import msgspec

from airlock.core.document import Node, parse
from airlock.core.errors import ConfigError
from airlock.incident.playbooks.problem import PlaybookError, Problem
from airlock.model.incident import SEVERITIES, TYPES, IncidentSeverity, IncidentType

FENCE = "---"

LONGEST_TEXT = 500
"""Characters of a value."""

NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
"""What a playbook is called."""

PENDING = "pending"


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """The front matter. Words as `airlock.model.playbook.Plan` has them."""

    id: str
    title: str
    types: tuple[IncidentType, ...]
    severity_floor: IncidentSeverity
    triggers: tuple[str, ...] = ()
    impact: str = ""
    owner: str = ""
    reviewed_on: str = ""
    last_drill: str = PENDING
    pre_approved: tuple[str, ...] = ()
    active: bool = True


def split(source: str) -> tuple[str, int]:
    """The text of the front matter, and how many lines it takes with its fences.

    Raises `PlaybookError` where there is none.
    """
    lines = source.split("\n")
    if lines[0].rstrip() == FENCE:
        for number, line in enumerate(lines[1:], start=1):
            if line.rstrip() == FENCE:
                return "\n".join(lines[1:number]), number + 1
    raise PlaybookError([Problem(1, "a playbook begins with its front matter between two lines of ---")])


def read_front(source: str) -> tuple[Front, int]:
    """The front matter of a playbook, and the lines that it takes. Raises `PlaybookError`."""
    text, lines = split(source)
    found: list[ConfigError] = []
    try:
        root = parse(text, lambda line: str(line + 1), found)
    except ConfigError as error:
        raise PlaybookError([_problem(error)]) from error
    problems = [_problem(error) for error in found]
    values: dict[str, Any] = {}
    for key, node in root.entries:
        try:
            values[key] = _reader(key)(node)
        except ValueError as wrong:
            problems.append(Problem(int(node.where), f"{key}: {wrong}"))
    given = {key for key, _ in root.entries}
    problems += [Problem(1, f"{key} is missing") for key in _REQUIRED if key not in given]
    if problems:
        raise PlaybookError(problems)
    return Front(**values), lines


def _problem(error: ConfigError) -> Problem:
    return Problem(int(error.where), f"{error.what}{f': {error.hint}' if error.hint else ''}")


def _reader(key: str) -> Callable[[Node], Any]:
    known = _READERS.get(key)
    if known is None:
        near = get_close_matches(key, _READERS, n=1)
        raise ValueError(
            f"there is no such key; {'did you mean ' + near[0] if near else 'one of ' + ', '.join(_READERS)}"
        )
    return known


def _text(node: Node) -> str:
    if node.kind not in ("text", "number", "other", "null") or not node.text.isprintable():
        raise ValueError("one line of text")
    if len(node.text) > LONGEST_TEXT:
        raise ValueError(f"{LONGEST_TEXT} characters at most")
    return "" if node.kind == "null" else node.text


def _filled(node: Node) -> str:
    if not _text(node).strip():
        raise ValueError("one line of text, not an empty one")
    return _text(node)


def _texts(node: Node) -> tuple[str, ...]:
    if node.kind != "list":
        raise ValueError("a list, in square brackets")
    return tuple(_filled(item) for item in node.items)


def _name(node: Node) -> str:
    if not NAME.fullmatch(node.text):
        raise ValueError("lower-case letters, digits and dashes, 64 at most")
    return node.text


def _types(node: Node) -> tuple[IncidentType, ...]:
    given = _texts(node)
    found: tuple[IncidentType, ...] = tuple(word for word in TYPES if word in given)
    if len(found) != len(given) or not found:
        raise ValueError(f"one or more of {', '.join(TYPES)}")
    return found


def _severity(node: Node) -> IncidentSeverity:
    for word in SEVERITIES:
        if word == node.text:
            return word
    raise ValueError(f"one of {', '.join(SEVERITIES)}")


def _day(node: Node) -> str:
    if _text(node):
        try:
            date.fromisoformat(node.text)
        except ValueError as wrong:
            raise ValueError("a day, YYYY-MM-DD") from wrong
    return _text(node)


def _drill(node: Node) -> str:
    return PENDING if _text(node) in ("", PENDING) else _day(node)


def _flag(node: Node) -> bool:
    if node.kind != "boolean" or node.text not in ("true", "false"):
        raise ValueError("true or false")
    return node.text == "true"


_READERS: Mapping[str, Callable[[Node], Any]] = {
    "id": _name,
    "title": _filled,
    "types": _types,
    "severity_floor": _severity,
    "triggers": _texts,
    "impact": _text,
    "owner": _text,
    "reviewed_on": _day,
    "last_drill": _drill,
    "pre_approved": _texts,
    "active": _flag,
}
_REQUIRED = ("id", "title", "types", "severity_floor")
