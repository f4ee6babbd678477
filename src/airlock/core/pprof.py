"""Profiles in the format of pprof: a gzipped protocol buffer, as `profile.proto` of github.com/google/pprof
describes it. Numbers of fields are of that file.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Frame(msgspec.Struct, frozen=True):
    """A place in the program; `line` and `first`, the first line of its function, are 0 where unknown."""

    function: str
    file: str = ""
    line: int = 0
    first: int = 0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """`values` in the order of the profile's types; `stack` starts with the innermost place."""

    stack: Sequence[Frame]
    values: Sequence[int]
    labels: Mapping[str, str]


def profile(
    samples: Iterable[Sample],
    *,
    types: Sequence[tuple[str, str]],
    comments: Sequence[str],
    at: float,
) -> bytes:
    """The bytes of a profile taken at Unix second `at`. `types` are names and units of the values; the last
    is the one that is shown first."""
    return gzip.compress(_Writer().write(samples, types, comments, at), compresslevel=1)


class _Writer:
    """The tables of one profile: texts, functions and places, each written once."""

    def __init__(self) -> None:
        self._texts = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._places: dict[Frame, int] = {}
        self._out = bytearray()

    def write(
        self,
        samples: Iterable[Sample],
        types: Sequence[tuple[str, str]],
        comments: Sequence[str],
        at: float,
    ) -> bytes:
        kinds = [_number(1, self._text(name)) + _number(2, self._text(unit)) for name, unit in types]
        for kind in kinds:
            self._out += _bytes(1, kind)
        for sample in samples:
            self._out += _bytes(2, self._sample(sample))
        self._out += _number(9, int(at * 1e9)) + _bytes(11, kinds[-1]) + _number(12, 1)
        self._out += b"".join(_number(13, self._text(comment)) for comment in comments)
        self._out += _number(14, self._text(types[-1][0]))
        return bytes(self._out) + b"".join(_bytes(6, text.encode()) for text in self._texts)

    def _sample(self, sample: Sample) -> bytes:
        places = b"".join(_varint(self._place(frame)) for frame in sample.stack)
        written = _bytes(1, places) + _bytes(2, b"".join(map(_varint, sample.values)))
        for key, value in sample.labels.items():
            written += _bytes(3, _number(1, self._text(key)) + _number(2, self._text(value)))
        return written

    def _place(self, frame: Frame) -> int:
        found = self._places.get(frame)
        if found is None:
            found = self._places[frame] = len(self._places) + 1
            line = _number(1, self._function(frame)) + _number(2, frame.line)
            self._out += _bytes(4, _number(1, found) + _bytes(4, line))
        return found

    def _function(self, frame: Frame) -> int:
        key = frame.function, frame.file
        found = self._functions.get(key)
        if found is None:
            found = self._functions[key] = len(self._functions) + 1
            name, file = self._text(frame.function), self._text(frame.file)
            fields = (found, name, name, file, frame.first)
            self._out += _bytes(5, b"".join(_number(n, field) for n, field in enumerate(fields, 1)))
        return found

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))


def _varint(value: int) -> bytes:
    """A number of up to 64 bits, seven at a time, the low ones first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
