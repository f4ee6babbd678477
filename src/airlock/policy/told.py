"""What log and status say of a reload: a policy that was refused is told with file, line and message."""

from __future__ import annotations

from typing import Protocol

from airlock.policy.problem import PolicyRejected

MOST = 20
"""Complaints about one policy that get a line each: a file may be wrong in every line."""


class Logger(Protocol):
    def error(self, event: str, **fields: object) -> object: ...


def place(error: Exception) -> dict[str, object]:
    """`file`, `line`, `col` and `message` of the first complaint about a policy; nothing of another error."""
    if not isinstance(error, PolicyRejected):
        return {}
    first = error.findings[0]
    return {"file": first.file, "line": first.line, "col": first.col, "message": first.message}


def refused(log: Logger, error: Exception, *, active: str) -> None:
    """A reload changed nothing. `active` is the revision that goes on deciding."""
    if isinstance(error, PolicyRejected):
        for found in error.findings[:MOST]:
            log.error(
                "policy_compile_error",
                file=found.file,
                line=found.line,
                col=found.col,
                message=found.message,
                active_revision=active,
            )
    log.error("policy_reload", result="error", active_revision=active)
