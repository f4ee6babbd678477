"""The commands of the two runbooks, as data (`commands.toml`) and as they are found again in the files.

The repository holds command lines, the row of the table that each belongs to and where it stands; it does not
hold the runbooks. The text of a document that a command writes (`cat > FILE << EOF`) is theirs too: of it the
data has the first line and the SHA-256 of the whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DATA = HERE / "commands.toml"
LANGUAGES = ("bash", "sql")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One command in a file; `line` counts from 1."""

    line: int
    text: str


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One command of the data."""

    runbook: str
    line: int
    rows: tuple[str, ...]
    text: str
    sha256: str = ""
    """Of the whole, where `text` is its first line only."""

    def is_of(self, found: Found) -> bool:
        if not self.sha256:
            return (self.line, self.text) == (found.line, found.text)
        whole = hashlib.sha256(found.text.encode()).hexdigest()
        return (self.line, self.text, self.sha256) == (found.line, found.text.partition("\n")[0], whole)


class Runbook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the two files."""

    file: str
    sha256: str
    commands: int


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `commands.toml`."""

    runbooks: dict[str, Runbook]
    commands: tuple[Command, ...]

    def of(self, row: str) -> list[Command]:
        """The commands of a row, in the order of the file; mostly one."""
        return [command for command in self.commands if row in command.rows]


@cache
def data() -> Data:
    """What is checked in."""
    return msgspec.convert(tomllib.loads(DATA.read_text()), Data)


def folder() -> Path | None:
    """Where the runbooks are: RUNBOOKS_DIR, or beside the repository; None where they are not."""
    given = os.environ.get("RUNBOOKS_DIR")
    place = Path(given) if given else ROOT.parent / "shared" / "runbooks"
    return place if place.is_dir() else None


def whole(command: Command) -> str | None:
    """The command as it stands in its file; None where the data has a part only and the file is not here."""
    if not command.sha256:
        return command.text
    place = folder()
    if place is None:
        return None
    text = (place / data().runbooks[command.runbook].file).read_text()
    return next(found.text for found in extract(text) if command.is_of(found))


def extract(markdown: str) -> list[Found]:
    """Every command of every fenced `bash` and `sql` block."""
    return [
        command
        for language, first, lines in _blocks(markdown)
        for command in (_statements(first, lines) if language == "sql" else _commands(first, lines))
    ]


def _blocks(markdown: str) -> Iterator[tuple[str, int, list[str]]]:
    """Language, number of the first line inside, lines."""
    language, first, lines = "", 0, list[str]()
    for number, line in enumerate(markdown.splitlines(), start=1):
        fence = re.fullmatch(r"```(\w*)\s*", line)
        if fence is None:
            lines.append(line)
        elif first:
            if language in LANGUAGES:
                yield language, first, lines
            first = 0
        else:
            language, first, lines = fence[1], number + 1, []


def _commands(first: int, lines: list[str]) -> Iterator[Found]:
    """Bash itself says where a command is complete: here-documents, pipes and quotes stay whole."""
    held: list[str] = []
    for number, line in enumerate(lines, start=first):
        if not held and (not line.strip() or line.lstrip().startswith("#")):
            continue
        held.append(line)
        text = "\n".join(held)
        if not line.endswith("\\") and _complete(text):
            yield Found(line=number - len(held) + 1, text=text)
            held = []
    if held:
        raise ValueError(f"line {first + len(lines) - len(held)}: no complete command: {held[0]}")


def _complete(text: str) -> bool:
    """A here-document without its end is a warning of bash's, and no error."""
    said = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False, timeout=30)
    return said.returncode == 0 and not said.stderr


def _statements(first: int, lines: list[str]) -> Iterator[Found]:
    held: list[str] = []
    for number, line in enumerate(lines, start=first):
        if held or line.strip():
            held.append(line)
        if line.rstrip().endswith(";"):
            yield Found(line=number - len(held) + 1, text="\n".join(held))
            held = []
