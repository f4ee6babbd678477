"""The steps of a playbook as they are written: every fence of the Markdown is one.

A fence `action {json}` holds a call. Every other fence is for a person, whatever its language: a playbook
cannot make the program run a command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from airlock.core import units
from airlock.incident.playbooks.calls import CallError, read_call
from airlock.incident.playbooks.problem import PlaybookError, Problem
from airlock.model.playbook import Call, Manual

if TYPE_CHECKING:
    from markdown_it.token import Token

ACTION = "action"

MOST = 100
"""Steps of a playbook."""

LONGEST_MANUAL = 8000
"""Characters of a manual step."""

LONGEST_TITLE = 200
"""Characters of a heading that are kept."""

MANUAL_TIMEOUT = 24 * 3600.0
"""Seconds that a person gets, where the step says nothing else."""

SHORTEST, LONGEST = 1.0, 7 * 86400.0
"""Seconds of a timeout, or of a pause."""

_ID = re.compile(r"[a-z][a-z0-9_]{0,39}")
_INFO = re.compile(r"([A-Za-z0-9_+-]*)\s*(.*)", re.DOTALL)


class Fence(msgspec.Struct, frozen=True, kw_only=True):
    """One fence. Options that were not given are None."""

    line: int
    id: str
    title: str
    do: Call | Manual
    when: str | None = None
    approvals: int = 0
    ttl: float | None = None
    on_success: str | None = None
    on_failure: str | None = None
    timeout: float | None = None
    delay: float = 0.0


def read_fences(source: str, lines: int) -> tuple[list[Fence], list[Problem]]:
    """The fences behind the front matter, which takes `lines` lines, and what is wrong with others.

    Raises `PlaybookError` where there are too many.
    """
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse("\n".join(source.split("\n")[lines:]))
    fences: list[Fence] = []
    problems: list[Problem] = []
    title = ""
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            title = _title(token.tag, tokens[position + 1])
        if token.type != "fence" or token.map is None:
            continue
        if len(fences) + len(problems) >= MOST:
            raise PlaybookError([Problem(token.map[0] + lines + 1, f"a playbook has {MOST} steps at most")])
        try:
            fences.append(_fence(token.info, token.content, token.map[0] + lines + 1, title, len(fences)))
        except PlaybookError as wrong:
            problems += wrong.problems
    return fences, problems


def _fence(info: str, content: str, line: int, title: str, number: int) -> Fence:
    match = _INFO.match(info.strip())
    language, rest = (match[1], match[2]) if match else ("", "")
    options, problems = _options(rest, line) if rest else ({}, [])
    do: Call | Manual | None = None
    try:
        do = read_call(content) if language == ACTION else _manual(language, content)
    except CallError as wrong:
        problems.append(Problem(line + 1 + wrong.offset, str(wrong)))
    problems += [Problem(line, text) for text in _misplaced(do, options)]
    if problems or do is None:
        raise PlaybookError(problems)
    id = options.pop("id", f"step_{number + 1}")
    return Fence(line=line, id=id, title=title, do=do, **options)


def _manual(language: str, content: str) -> Manual:
    text = content.rstrip("\n")
    if not text.strip() or len(text) > LONGEST_MANUAL:
        raise CallError(f"a manual step says what to do, in {LONGEST_MANUAL} characters at most")
    return Manual(language=language or "text", text=text)


def _misplaced(do: Call | Manual | None, options: Mapping[str, Any]) -> list[str]:
    if isinstance(do, Manual):
        return [f"{key} is for actions" for key in ("ttl", "approvals") if key in options]
    return []


def _title(tag: str, inline: Token) -> str:
    """What a heading says, without its marks; the one of the whole playbook is no step's."""
    if tag == "h1":
        return ""
    said = "".join(part.content for part in inline.children or () if part.type in ("text", "code_inline"))
    return "".join(letter for letter in said if letter.isprintable())[:LONGEST_TITLE].strip()


def _options(rest: str, line: int) -> tuple[dict[str, Any], list[Problem]]:
    try:
        given = msgspec.json.decode(rest, type=dict[str, Any])
        json.loads(rest, object_pairs_hook=_once)
    except (msgspec.DecodeError, ValueError, RecursionError):
        text = 'behind the word of a fence stands nothing, or one JSON object such as {"id": "freeze"}'
        return {}, [Problem(line, text)]
    options: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in given.items():
        try:
            options[key] = _READERS[key](value)
        except KeyError:
            problems.append(Problem(line, f"a step has {', '.join(_READERS)}, not {key}"))
        except ValueError as wrong:
            problems.append(Problem(line, f"{key}: {wrong}"))
    return options, problems


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("a lower-case letter, then letters, digits and _, 40 at most")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("one line of text")
    return value


def _people(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 2:
        raise ValueError("0, 1 or 2 people")
    return value


def _seconds(least: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            found = units.duration(str(value))
        except ValueError as wrong:
            raise ValueError(f"{wrong}: write 30s, 5m, 1h") from wrong
        if not least <= found <= LONGEST:
            raise ValueError(f"from {units.show_duration(least)} to {units.show_duration(LONGEST)}")
        return found

    return read


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "id": _id,
    "when": _text,
    "approvals": _people,
    "ttl": _seconds(SHORTEST),
    "on_success": _id,
    "on_failure": _id,
    "timeout": _seconds(SHORTEST),
    "delay": _seconds(0.0),
}
