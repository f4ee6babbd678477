"""A backtest as a program of its own: `python -m airlock.incident.detect.hunting`.

A worker starts it for the management API, so that a hunt through a million rows keeps nobody's call waiting.
The question comes on standard input and the answer goes to standard output, both as JSON; exit code 3 with a
text on standard error where there is no answer.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import msgspec

from airlock.incident.detect import backtest
from airlock.incident.detect.catalogue import rules

CANNOT = 3


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What to hunt for. Times are Unix seconds."""

    audit: str
    rule: str
    since: float
    now: float
    thresholds: dict[str, float]
    most: int


def main() -> int:
    """See the module."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    try:
        found = backtest.backtest(
            Path(asked.audit),
            rules()[asked.rule],
            since=asked.since,
            now=asked.now,
            thresholds=asked.thresholds,
            most=asked.most,
        )
    except sqlite3.Error as error:
        sys.stderr.write(str(error))
        return CANNOT
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
