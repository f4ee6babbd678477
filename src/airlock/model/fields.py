"""What stands in a selector for a value that a lease sets: rates, levels, switches, durations, counts.

A selector is text; each field here is read from text and shown as the one text that means the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airlock.core import units
from airlock.core.units import Rate

LEVELS = ("error", "warn", "info", "debug")
"""From the fewest lines to the most."""

LONGEST_TTL = 3600.0
"""Seconds for which a decision may be remembered, whoever asks for it."""

MOST_DECISIONS = 100_000
"""Decisions that a worker may remember: some 50 MiB."""

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


def _level(text: str) -> str:
    if text not in LEVELS:
        raise ValueError(f"one of {', '.join(LEVELS)}")
    return text


def _on(text: str) -> bool:
    if text != "true":
        raise ValueError("a lease switches it on: write true")
    return True


def _seconds(text: str) -> float:
    try:
        seconds = units.duration(text)
    except ValueError as wrong:
        raise ValueError(f"{wrong}; write 10m") from wrong
    if seconds > LONGEST_TTL:
        raise ValueError(f"{units.show_duration(LONGEST_TTL)} at most")
    return seconds


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
    "level": _level,
    "audit_all_requests": _on,
    "enhanced": _on,
    "cache_ttl": _seconds,
    "cache_size": _count(1, MOST_DECISIONS),
    "max_connections": _count(FEWEST, MOST),
    "max_clients": _count(FEWEST, MOST),
}
