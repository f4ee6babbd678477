"""How values stand in a document: one line of harmless text each, moments in UTC, lengths of time in words.

A record holds what strangers sent: names of tools, symptoms pasted from a log. Nothing of that may end a
line, begin one, draw a table, make a link or a mention, or give orders to a terminal. The characters that
some reader obeys are replaced by their relatives in print; the record keeps the exact ones.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airlock.audit.visible import visible
from airlock.incident.durations import spell

UNKNOWN = "not yet known"
"""What stands where the record has no fact."""

NOT_RECORDED = "not recorded"
"""What stands where no event of a kind is on the timeline."""

_HARMLESS = str.maketrans("<>[]`|", "\u2039\u203a()'\u00a6")


class Safe(str):
    """Text that a template takes as it stands: made here from harmless parts."""

    __slots__ = ()


def plain(value: object) -> str:
    """A value as one line of harmless text; white space of any kind becomes single spaces."""
    if isinstance(value, Safe):
        return value
    return visible(" ".join(str(value).split())).translate(_HARMLESS)


def told(value: object) -> str:
    """The same, and `not yet known` for None, an empty text and an empty list."""
    if value is None or value in ("", ()):
        return UNKNOWN
    if isinstance(value, tuple):
        return ", ".join(plain(each) for each in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return plain(value)


def moment(at: float | None) -> Safe | None:
    """`YYYY-MM-DD HH:MM UTC` of Unix seconds."""
    return None if at is None else Safe(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC"))


def day(at: float | None) -> Safe | None:
    """`YYYY-MM-DD` of Unix seconds, in UTC."""
    return None if at is None else Safe(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d"))


def length(seconds: float | None) -> Safe | None:
    """How long something took: the two largest units, such as `1 h 5 min`."""
    return None if seconds is None else Safe(spell(max(0.0, seconds)))


def named(word: str) -> Safe:
    """A word of a vocabulary as people read it: `service_outage` is `Service Outage`."""
    return Safe(plain(word).replace("_", " ").title())
