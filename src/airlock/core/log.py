"""JSON lines on standard output: `timestamp`, `level`, `event`, `component`, `correlation_id`, and the rest.

A log call never raises into its caller and never prints a credential: values under telling names, and what
looks like a JWT or a bearer credential anywhere in a line, become `[withheld]`. That is a second net; the
first one is that callers do not log secrets, arguments or results. `event` is a stable word, never a sentence
with values in it. The only global state is structlog's, set by `configure`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from threading import Lock
from types import NoneType
from typing import Protocol, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from airlock.core.clock import SYSTEM, Clock, log_time
from airlock.core.harmless import harmless

WITHHELD = "[withheld]"

LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
"""The words of `logging.level` and of the lines, with the numbers of the standard library."""

DEEPEST = 6
"""Levels of nested values that are written; a log line is no place for documents."""

LONGEST = 8192
"""Characters of a text that are written; it also bounds the search for credentials."""

_METHODS = {"warning": "warn", "critical": "error"}

_TELLING = re.compile(
    "token|authorization|secret|passw|passphrase|cookie|credential|api_?-?key|private_?-?key", re.IGNORECASE
)

_CREDENTIAL = re.compile(
    rb"eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){2,4}"  # RFC 7519: a JSON object in base64url, dots between
    rb"|bearer +[A-Za-z0-9._~+/=-]{6,}",  # RFC 6750 section 2.1
    re.IGNORECASE,
)

_STAMPED = ("timestamp", "level")


class Stream(Protocol):
    """Where lines go: the binary side of standard output, or a test's buffer."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> None: ...


def configure(
    level: str, stream: Stream | None = None, *, kept: Stream | None = None, clock: Clock = SYSTEM
) -> None:
    """Sets level (`debug info warn error`) and streams for all loggers of the process, those in use too.

    `stream` is standard output where it is not given; every line goes to `kept` as well.
    """
    lines = _Lines(stream or sys.stdout.buffer, kept)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, _Render(clock)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,  # the level changes while the process runs
    )


def get(component: str) -> FilteringBoundLogger:
    """The logger of a component. Pass `correlation_id=` with each event that belongs to a request."""
    return cast(FilteringBoundLogger, structlog.get_logger(component=component))


class _Lines:
    """Writes one line at a time. A log that cannot be written does not stop the work that it tells of."""

    def __init__(self, stream: Stream, kept: Stream | None) -> None:
        self._streams = (stream,) if kept is None else (kept, stream)
        self._lock = Lock()

    def msg(self, line: bytes) -> None:
        with self._lock:
            for stream in self._streams:
                with suppress(OSError, ValueError):  # closed, broken pipe or full: nobody is left to be told
                    stream.write(line)
                    stream.flush()

    debug = info = warning = error = critical = msg


class _Render:
    """The last processor: from an event to the bytes of its line."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._telling = lru_cache(1024)(_TELLING.search)  # names come from code: few, and again and again

    def __call__(self, _: WrappedLogger, method: str, event: EventDict) -> bytes:
        line: dict[str, object] = {
            "timestamp": log_time(self._clock.wall()),
            "level": _METHODS.get(method, method),
            "event": "",
            "component": "",
            "correlation_id": "",
        }
        try:
            rest = {name: self._clean(name, value) for name, value in event.items() if name not in _STAMPED}
            text = msgspec.json.encode(line | rest)
        except Exception as error:  # noqa: BLE001 - values run foreign code (str), and a log call never raises
            line["event"] = "unreadable_event"
            text = msgspec.json.encode(line | {"error": type(error).__name__})
        if b"eyJ" in text or b"bearer" in text.lower():
            text = _CREDENTIAL.sub(WITHHELD.encode(), text)
        return harmless(text) + b"\n"

    def _clean(self, name: str, value: object, depth: int = 0) -> object:
        """The value as JSON, without what its name gives away."""
        if self._telling(name):
            return WITHHELD
        if isinstance(value, (bool, float, NoneType)):
            return value
        if isinstance(value, int):
            return value if -(2**63) <= value < 2**63 else hex(value)
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return self._nested(cast("Iterable[object]", value), depth + 1)
        if isinstance(value, (bytes, bytearray)):
            return value.decode("utf-8", "replace")[:LONGEST]
        return str(value)[:LONGEST]

    def _nested(self, value: Iterable[object], depth: int) -> object:
        if depth > DEEPEST:
            return "..."
        if isinstance(value, Mapping):
            pairs = cast("Mapping[object, object]", value).items()
            return {str(key): self._clean(str(key), found, depth) for key, found in pairs}
        return [self._clean("", found, depth) for found in value]
