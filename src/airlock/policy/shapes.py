"""What the arguments of a tool looked like, as narrow as a person would still write it.

An argument that names files stays within the folders that were seen, one that names web addresses at the
hosts that were seen; of every other only the types are kept, because a value that was seen once says nothing
of the next. Pure: values in, values out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any, cast

import msgspec

MOST_NAMES = 64
"""Argument names of one tool that are listed; a tool with more takes names that nobody can foresee."""

MOST_PLACES = 8
"""Folders or hosts of one argument that are listed; more of them say that it may be any."""

ROOT = "/"
HERE = "."
HOME = "~"
"""Folders that hold every absolute path, every relative one, and every one in the home directory."""

_PATH_NAME = re.compile(
    r"(?i)(?:^|[_-])(?:paths?|files?|filename|dirs?|directory|folder|source|destination)$"
)
_PATH_CAMEL = re.compile(r"(?:Path|Paths|File|Dir|Folder|Directory)$")
_ORIGIN = re.compile(r"(https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)(?:[/?#]|\Z)")
_PLAIN = re.compile(r"[^\\\x00-\x1f\x7f]{1,4096}")
_REDACTED = "[REDACTED:"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One argument: its types in the words of Rego, or the places that its texts name."""

    types: tuple[str, ...]
    folders: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    """Every folder that was seen: `folders` are those that hold them."""
    origins: tuple[str, ...] = ()
    redacted: bool = False
    """A value held something that redaction took out."""


def shapes(calls: Iterable[dict[str, Any]]) -> dict[str, Shape] | None:
    """Argument name -> shape over all calls, in order of the names; None where they cannot be listed."""
    seen: dict[str, list[Any]] = {}
    for arguments in calls:
        for name, value in arguments.items():
            seen.setdefault(name, []).append(value)
    if len(seen) > MOST_NAMES:
        return None
    return {name: shape(name, values) for name, values in sorted(seen.items())}


def shape(name: str, values: list[Any]) -> Shape:
    """The shape of the values of one argument."""
    types = tuple(sorted({kind(value) for value in values}))
    texts = list(chain.from_iterable(_texts(value) for value in values))
    redacted = any(_REDACTED in text for value in values for text in _every_text(value))
    words = [text for text in texts if text is not None]
    if redacted or not words or len(words) < len(texts):
        return Shape(types=types, redacted=redacted)
    if origins := _origins(words):
        return Shape(types=types, origins=origins)
    folders = _folders(words) if _are_paths(name, words) else ()
    if HERE in folders and any(":" in word.split("/")[0] for word in words):
        folders = ()  # `file:/etc/passwd` begins with no slash either
    return Shape(types=types, folders=folders, seen=_seen(words)) if folders else Shape(types=types)


def kind(value: Any) -> str:
    """What Rego's `type_name` says of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _texts(value: Any) -> list[str | None]:
    """The text, or the items of a list of texts; None for whatever else it is."""
    items: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [item if isinstance(item, str) else None for item in items]


def _every_text(value: Any) -> Iterable[str]:
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting.extend(cast("list[Any]", item))
        elif isinstance(item, dict):
            waiting.extend(cast("dict[str, Any]", item).values())


def _origins(texts: list[str]) -> tuple[str, ...]:
    """Scheme, host and port of every text, if all are plain web addresses of a few hosts."""
    found = [_ORIGIN.match(text) for text in texts]
    origins = {match[1] for match in found if match}
    return tuple(sorted(origins)) if all(found) and len(origins) <= MOST_PLACES else ()


def _are_paths(name: str, texts: list[str]) -> bool:
    """By the name of the argument, or because every value is an absolute path of at least two parts."""
    if not all(_PLAIN.fullmatch(text) and ".." not in text.split("/") for text in texts):
        return False
    if any(text.startswith(HOME) and text.split("/")[0] != HOME for text in texts):
        return False
    named = bool(_PATH_NAME.search(name) or _PATH_CAMEL.search(name))
    return named or all(text.startswith("/") and "/" in text[1:] and " " not in text for text in texts)


def _folders(paths: list[str]) -> tuple[str, ...]:
    """The folders that hold every path: one for each beginning, or all there are where there are many."""
    beginnings: dict[str, list[list[str]]] = {}
    for path in paths:
        parts = _folder(path)
        beginnings.setdefault(parts[0] + (parts[1] if parts[0] == "" and parts[1:] else ""), []).append(parts)
    folders = {
        "/".join(_common(parts)) or (ROOT if parts[0][0] == "" else HERE) for parts in beginnings.values()
    }
    if len(folders) > MOST_PLACES:
        folders = {folder[0] if folder.startswith((ROOT, HOME)) else HERE for folder in folders}
    return tuple(sorted(folders))


def _seen(paths: list[str]) -> tuple[str, ...]:
    return tuple(sorted({"/".join(_folder(path)) or ROOT for path in paths}))


def _folder(path: str) -> list[str]:
    """The parts of the folder that a path names or lies in; `["", ...]` for an absolute one."""
    parts = path.rstrip("/").split("/")
    if parts[0] == HERE or (len(parts) == 1 and not path.startswith((ROOT, HOME))):
        return [HERE]
    if len(parts) == 1:
        return parts
    return parts[:-1] if "." in parts[-1].lstrip(".") else parts


def _common(all_parts: list[list[str]]) -> list[str]:
    """The beginning that all share."""
    common: list[str] = []
    for level in zip(*all_parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return common
