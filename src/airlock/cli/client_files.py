"""The files in which MCP clients keep their servers, as plain values.

All common clients write one JSON object with a mapping from a server's name to how it is reached; they differ
in the key above it. Comments and trailing commas, which editors allow, are read over. Nothing is judged here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from airlock.core.errors import ConfigError

LARGEST = 4 * 1024 * 1024
"""Bytes of a client's file; Claude's own, with its history, is the largest in use."""

PLACES: tuple[tuple[str, ...], ...] = (
    ("mcpServers",),
    ("servers",),
    ("mcp", "servers"),
    ("context_servers",),
)
"""Where the mapping stands: Claude, Cursor, Windsurf, Gemini, Cline; VS Code; its settings; Zed."""


class LeftOut(Exception):
    """This server cannot be taken over; the text says why and what to do."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One server as a client knows it."""

    name: str
    where: Path
    entry: dict[str, Any]


class ClientFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one file holds; `notes` are for the person who asked."""

    servers: tuple[Found, ...]
    notes: tuple[str, ...]


def read(path: Path) -> ClientFile:
    """The servers of a file. Raises ConfigError for what is no such file."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise ConfigError(str(path), f"is larger than {LARGEST} bytes")
    doubled: list[str] = []
    root = _parse(data, path, doubled.append)
    servers = next((at for place in PLACES if (at := _at(root, place)) is not None), None)
    if servers is None:
        raise ConfigError(str(path), "names no servers", "expected a mapping mcpServers (or servers)")
    notes = [
        f"{path}: {name!r} is given twice; the last one counts, as it does for clients" for name in doubled
    ]
    found: list[Found] = []
    for name, entry in servers.items():
        if isinstance(entry, dict):
            found.append(Found(name=name, where=path, entry=cast("dict[str, Any]", entry)))
        else:
            notes.append(f"{path}: {name!r} is no description of a server: left out")
    return ClientFile(servers=tuple(found), notes=tuple(notes))


def _at(root: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any] | None:
    value: Any = root
    for key in place:
        value = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _parse(data: bytes, path: Path, doubled: Callable[[str], None]) -> dict[str, Any]:
    def united(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if key in values:
                doubled(key)
            values[key] = value
        return values

    try:
        root = json.loads(plain(data.decode("utf-8-sig")), object_pairs_hook=united)
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), f"is not readable as JSON: {error}") from error
    if not isinstance(root, dict):
        raise ConfigError(str(path), "is no JSON object")
    return cast("dict[str, Any]", root)


def plain(text: str) -> str:
    """JSON without the comments and trailing commas of editors; lines keep their numbers."""
    out: list[str] = []
    at = 0
    while at < len(text):
        end = _end(text, at)
        part = text[at:end]
        if part[:2] in {"//", "/*"}:
            part = "\n" * part.count("\n")
        elif part in {"]", "}"}:
            _drop_comma(out)
        out.append(part)
        at = end
    return "".join(out)


def _end(text: str, at: int) -> int:
    """Where the text, comment or single character at this place ends."""
    if text[at] == '"':
        return _end_of_text(text, at)
    if text.startswith("//", at):
        end = text.find("\n", at)
        return len(text) if end < 0 else end
    if text.startswith("/*", at):
        end = text.find("*/", at + 2)
        return len(text) if end < 0 else end + 2
    return at + 1


def _end_of_text(text: str, at: int) -> int:
    at += 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at + 1


def _drop_comma(out: list[str]) -> None:
    for place in range(len(out) - 1, -1, -1):
        if out[place].strip():
            if out[place] == ",":
                out[place] = ""
            return


def text(value: Any, key: str) -> str:
    """The value as a text that is not empty. Raises LeftOut."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise LeftOut(f"its {key} is no text")
    return value


def texts(value: Any, key: str) -> list[str]:
    """The value as a list of texts. Raises LeftOut."""
    items = cast("list[Any]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str) and "\0" not in item for item in items):
        raise LeftOut(f"its {key} are no list of texts")
    return cast("list[str]", items)


def mapping(value: Any, key: str) -> dict[str, str]:
    """The value as a mapping of texts; numbers become texts. Raises LeftOut."""
    pairs = cast("dict[str, Any]", value) if isinstance(value, dict) else {"": None}
    told: dict[str, str] = {}
    for name, item in pairs.items():
        text = str(item) if isinstance(item, int | float) else item
        if not isinstance(text, str) or "\0" in text:
            raise LeftOut(f"its {key} is no mapping of texts")
        told[name] = text
    return told
