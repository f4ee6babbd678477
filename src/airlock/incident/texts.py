"""Bounds of what people write into a record. Hostile characters are kept: whoever shows a text escapes it."""

from __future__ import annotations

import msgspec

from airlock.model.incident import ActionItem
from airlock.model.lease import Unfit

LONGEST = 10_000
"""Characters of one text: a page, not a log file."""

MOST = 200
"""Texts of one list."""

LATEST = 7_258_118_400.0
"""The year 2200 in Unix seconds: later times are mistakes, and far later ones no calendar has."""


def check(order: msgspec.Struct) -> None:
    """Raises `Unfit`: `text_invalid` where a text is too long, or a list has too many; `time_invalid` for
    what is no time."""
    for name in order.__struct_fields__:
        value: object = getattr(order, name)
        if isinstance(value, ActionItem):
            check(value)
        elif isinstance(value, tuple):
            _check_list(name, value)  # pyright: ignore[reportUnknownArgumentType] # tuples of the orders hold texts
        elif isinstance(value, float):
            _check_time(name, value)
        else:
            _check_text(name, value)


def needed(name: str, text: str) -> str:
    """A text that may not be empty. Raises `Unfit` `text_invalid`."""
    if not text.strip():
        raise Unfit("text_invalid", f"{name} is empty: say it in a few words.")
    return text


def _check_list(name: str, values: tuple[object, ...]) -> None:
    if len(values) > MOST:
        raise Unfit("text_invalid", f"{name} has {len(values)} entries: {MOST} at most.")
    for value in values:
        _check_text(name, value)


def _check_time(name: str, value: float) -> None:
    if not 0 <= value <= LATEST:
        raise Unfit("time_invalid", f"{name} is no time between 1970 and 2200.")


def _check_text(name: str, value: object) -> None:
    if isinstance(value, str) and len(value) > LONGEST:
        raise Unfit("text_invalid", f"{name} has {len(value)} characters: {LONGEST} at most.")
