"""Counterfactuals as a program of its own: `python -m airlock.incident.hindsight`.

A worker starts it for the management API, so that a hunt through many rows keeps nobody's call waiting. The
question comes on standard input and the answer goes to standard output, both as JSON; exit code 3 with a text
on standard error where there is no answer.
"""

from __future__ import annotations

import sqlite3
import sys

import msgspec

from airlock.incident.counterfactuals import Question, work_out

CANNOT = 3


def main() -> int:
    """See the module."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    try:
        found = work_out(asked)
    except sqlite3.Error as error:
        sys.stderr.write(str(error))
        return CANNOT
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
