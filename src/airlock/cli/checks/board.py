"""What came of each check: true, false, or not tried. What was not tried is never called good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED = 1
UNTRIED = 3


class Wrong(Exception):
    """It is not as it should be; what was seen."""


class Untold(Exception):
    """It cannot be told."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check; `observed` is what was seen, or why nothing could be."""

    check: str
    result: Literal["ok", "fail", "untried"]
    observed: str


class Board:
    """Collects checks and figures, and tells a listener of each as it comes."""

    def __init__(self, tell: Callable[[Check | str], None]) -> None:
        self._tell = tell
        self.checks: list[Check] = []
        self.notes: list[str] = []
        """Lines that are no check: figures."""

    def passed(self, check: str, observed: str) -> None:
        self._put(Check(check=check, result="ok", observed=observed))

    def failed(self, check: str, observed: str) -> None:
        self._put(Check(check=check, result="fail", observed=observed))

    def untried(self, check: str, why: str) -> None:
        self._put(Check(check=check, result="untried", observed=why))

    def note(self, line: str) -> None:
        self.notes.append(line)
        self._tell(line)

    def _put(self, check: Check) -> None:
        self.checks.append(check)
        self._tell(check)

    @property
    def exit(self) -> int:
        """0: every check was true; 1: one was not; 3: none was false, but not all could be tried."""
        results = {done.result for done in self.checks}
        if "fail" in results:
            return FAILED
        return UNTRIED if "untried" in results or not results else 0
