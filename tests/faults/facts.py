"""What is known of a fault that is there, and how it is found out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Absent(AssertionError):
    """A fault that was made is not there: whatever is seen now says nothing."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One fault that was proven to be there."""

    fault: str
    """Its id in the list of faults, or a word for one that has none."""
    proof: str
    """What was seen that proves it, without asking the product."""
    values: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What a test compares with: process ids, addresses, rows, counts."""


def prove(seen: bool, what: str) -> None:
    """Raise `Absent` unless it was seen."""
    if not seen:
        raise Absent(f"not seen: {what}")


def proven(look: Callable[[], T], what: str, *, within: float = 30.0) -> T:
    """The first truth that `look` returns. Raises `Absent` after `within` seconds."""
    end = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > end:
            raise Absent(f"not seen within {within:g} s: {what}")
        time.sleep(0.01)
    return found
