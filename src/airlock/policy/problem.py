"""What is wrong with a policy, and where: the same shape from parser, capability check, trial and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airlock.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """`line` and `col` count from 1; 0 where the problem has no place in a file."""

    file: str
    line: int = 0
    col: int = 0
    message: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}:{self.col}" if self.line else self.file

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class PolicyRejected(ConfigError):
    """A bundle that may not be used; `findings` is all that was found, `problems` the same as errors."""

    def __init__(self, findings: Sequence[Problem]) -> None:
        errors = [ConfigError(finding.where, finding.message) for finding in findings]
        super().__init__(errors[0].where, errors[0].what)
        self.args = ("\n".join(str(error) for error in errors),)
        self.problems = tuple(errors)
        self.findings = tuple(findings)
