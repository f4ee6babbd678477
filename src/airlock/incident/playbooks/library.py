"""The playbooks that there are: those that come with the program, and the files of the operator.

A file `ID.md` in the folder `playbooks` of the data directory stands in the place of a shipped playbook of
the same id. A file that is wrong is told with its lines, and its id has no playbook until it is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from airlock.incident.playbooks.compile import LARGEST, Compiled, compile_playbook
from airlock.incident.playbooks.front import NAME
from airlock.incident.playbooks.problem import PlaybookError, Problem
from airlock.model.lease import Unfit

FOLDER = "playbooks"
"""In the data directory."""

SHIPPED = Path(__file__).parent / "shipped"

Source = Literal["shipped", "own"]


class Shelved(msgspec.Struct, frozen=True, kw_only=True):
    """One playbook, or what is wrong with it."""

    id: str
    source: Source
    text: str = ""
    compiled: Compiled | None = None
    problems: tuple[Problem, ...] = ()


def shelves(folder: Path | None) -> dict[str, Shelved]:
    """Every playbook by its id. `folder`: where the operator's are; None, or not there: nowhere. Blocks."""
    found = {each.id: each for each in _read(SHIPPED, "shipped")}
    if folder is not None and folder.is_dir():
        found |= {each.id: each for each in _read(folder, "own")}
    return dict(sorted(found.items()))


def find(folder: Path | None, id: str) -> Compiled:
    """One playbook. Raises `Unfit` `playbook_unknown`, `playbook_invalid`."""
    shelved = shelves(folder).get(id)
    if shelved is None:
        raise Unfit("playbook_unknown", f"There is no playbook {id[:64]!r}: `airlock runbook list`.")
    if shelved.compiled is None:
        text = "; ".join(f"line {each.line}: {each.text}" for each in shelved.problems[:5])
        raise Unfit("playbook_invalid", f"{id} cannot be used: {text}.")
    return shelved.compiled


def read(path: Path, source: Source = "own") -> Shelved:
    """One file. Never raises: what is wrong stands in the answer."""
    id = path.name.removesuffix(".md")
    text = ""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(LARGEST + 1)
        compiled = compile_playbook(text)
    except (OSError, UnicodeDecodeError) as error:
        return Shelved(id=id, source=source, problems=(Problem(1, f"cannot be read: {error}"),))
    except PlaybookError as error:
        return Shelved(id=id, source=source, text=text, problems=error.problems)
    if compiled.plan.id != id:
        wrong = Problem(1, f"the id is {compiled.plan.id}, and the file is called {id}.md")
        return Shelved(id=id, source=source, text=text, problems=(wrong,))
    return Shelved(id=id, source=source, text=text, compiled=compiled)


def _read(folder: Path, source: Source) -> Iterator[Shelved]:
    for path in sorted(folder.glob("*.md")):
        if NAME.fullmatch(path.name.removesuffix(".md")):
            yield read(path, source)
