"""Traces: the rows that must raise a rule, or must not, one JSON object a line. Pure.

Members are the columns of `Seen`, and
- `at`: seconds from the beginning of the trace; below 0 is what was usual before,
- `repeat` and `every`: so many such rows, so many seconds apart; `{i}` in a text is then its number,
- `more`: what only the rules that act at once look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from airlock.incident.detect.seen import Seen, network

MOST = 100_000
"""Rows of one line: a trace is a file of a repository, not of a stranger, and must still end."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a trace, apart from the moment at which it is played."""

    seen: Seen
    more: dict[str, Any]


def lines(text: str, start: float) -> list[Line]:
    """The rows of a trace in the order of their moments. Raises ValueError naming the line that is wrong."""
    found: list[Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.extend(_rows(msgspec.json.decode(line, type=dict[str, Any]), start, number))
        except (msgspec.DecodeError, ValueError) as error:
            raise ValueError(f"line {number}: {error}") from error
    return sorted(found, key=lambda each: each.seen.at)


def rows(text: str, start: float) -> list[Seen]:
    """The same, for the rules that look at a window."""
    return [line.seen for line in lines(text, start)]


def _rows(members: dict[str, Any], start: float, number: int) -> Iterator[Line]:
    repeat, every = int(members.pop("repeat", 1)), float(members.pop("every", 0.0))
    if not 1 <= repeat <= MOST:
        raise ValueError(f"repeat is {repeat}, and must be between 1 and {MOST}")
    begin = start + float(members.pop("at", 0.0))
    more = members.pop("more", {})
    unknown = set(members) - set(Seen.__struct_fields__)
    if unknown:
        raise ValueError(f"no column is called {', '.join(sorted(unknown))}")
    for i in range(repeat):
        filled = {key: _filled(value, i) for key, value in members.items()}
        seen = msgspec.convert({"id": f"{number}-{i}", **filled, "at": begin + i * every}, Seen)
        seen.network = seen.network or network(seen.source_ip)
        yield Line(seen=seen, more={key: _filled(value, i) for key, value in more.items()})


def _filled(value: Any, i: int) -> Any:
    return value.replace("{i}", str(i)) if isinstance(value, str) else value
