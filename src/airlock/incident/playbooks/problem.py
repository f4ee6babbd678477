"""What is wrong with a playbook, and where."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong: the line that it is in, from 1, and what would be right."""

    line: int
    text: str


class PlaybookError(ValueError):
    """A text that is no playbook. All that is wrong, in the order of the lines; nothing of it is used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("; ".join(f"line {found.line}: {found.text}" for found in self.problems))
