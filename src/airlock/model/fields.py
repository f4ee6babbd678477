"""What stands in a selector for a value that a lease sets: rates, levels, switches, durations, counts.

A selector is text; each field here is read from text and shown as the one text that means the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast, get_args

from airlock.core import units
from airlock.core.config import Detector
from airlock.core.units import Rate
from airlock.model.lattice import MODES, RISKS

LEVELS = ("error", "warn", "info", "debug")
"""From the fewest lines to the most."""

LONGEST_TTL = 3600.0
"""Seconds for which a decision may be remembered, whoever asks for it."""

MOST_DECISIONS = 100_000
"""Decisions that a worker may remember: some 50 MiB."""

FRESH = "5m"
"""How old a login may be where a stronger one is asked for and nothing else is said."""

OLDEST_LOGIN = 24 * 3600.0
"""Seconds: an older login is no fresh one."""

LARGEST = 16 * 1024 * 1024
"""Bytes of a message that may pass at all."""

FEWEST = 16
"""Connections and clients that must be left: who tuned too far has to be able to take it back."""

MOST = 10_000
"""Connections and clients that a worker may be opened to: each takes a file and memory."""


def read(field: str, text: str) -> object:
    """The value that a selector's field holds. Raises ValueError that says what would be right."""
    return _READ[field](text)


def show(value: object) -> str:
    """The text of a value that `read` reads."""
    match value:
        case Rate():
            return units.show_rate(value)
        case bool():
            return "true" if value else "false"
        case float():
            return units.show_duration(value)
        case tuple():
            return ",".join(map(str, cast("tuple[object, ...]", value)))
        case _:
            return str(value)


def known(field: str) -> bool:
    """Whether a field of a selector is one of these."""
    return field in _READ


def _rate(text: str) -> Rate:
    try:
        return units.rate(text)
    except ValueError as wrong:
        raise ValueError(f"{wrong}; write 10/min") from wrong


def _on(text: str) -> bool:
    if text != "true":
        raise ValueError("a lease switches it on: write true")
    return True


def _seconds(longest: float, least: float = 0.0) -> Callable[[str], float]:
    def seconds(text: str) -> float:
        try:
            found = units.duration(text)
        except ValueError as wrong:
            raise ValueError(f"{wrong}; write 10m") from wrong
        if found > longest:
            raise ValueError(f"{units.show_duration(longest)} at most")
        if found < least:
            raise ValueError(f"{units.show_duration(least)} at least")
        return found

    return seconds


def _word(*words: str) -> Callable[[str], str]:
    def word(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return word


def _names(known: tuple[str, ...] = ()) -> Callable[[str], tuple[str, ...]]:
    """Names with commas, each once. `known`: the names that there are; empty: any."""

    def names(text: str) -> tuple[str, ...]:
        found = sorted({name.strip() for name in text.split(",")})
        if not all(found):
            raise ValueError("names with commas between them")
        for name in found:
            if known and name not in known:
                raise ValueError(f"there is no {name!r}: {', '.join(known)}")
        return tuple(found)

    return names


def _count(least: int, most: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text[:12]) <= most):
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return count


_READ: Mapping[str, Callable[[str], object]] = {
    "per_token": _rate,
    "per_ip": _rate,
    "per_tenant": _rate,
    "level": _word(*LEVELS),
    "audit_all_requests": _on,
    "enhanced": _on,
    "risk": _word(*RISKS),
    "max_age": _seconds(OLDEST_LOGIN, 1.0),
    "max_bytes": _count(1, LARGEST),
    "result_bytes": _count(1024, LARGEST),
    "allow": _names(),
    "patterns": _names(get_args(Detector)),
    "mode": _word(*MODES),
    "cache_ttl": _seconds(LONGEST_TTL),
    "cache_size": _count(1, MOST_DECISIONS),
    "max_connections": _count(FEWEST, MOST),
    "max_clients": _count(FEWEST, MOST),
}
