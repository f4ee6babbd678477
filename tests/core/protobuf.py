"""Reads protocol buffers without a description: enough to hold what was written against `profile.proto`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

Fields = dict[int, list[int | bytes]]


def fields(data: bytes) -> Fields:
    """The values of each field, in the order in which they stand."""
    found: Fields = defaultdict(list)
    stream = iter(data)
    for byte in stream:
        key = _rest(byte, stream)
        number, kind = key >> 3, key & 7
        value = varint(stream)
        if kind == 2:
            found[number].append(bytes(next(stream) for _ in range(value)))
        else:
            assert kind == 0, kind
            found[number].append(value)
    return found


def varints(data: bytes) -> list[int]:
    """Packed numbers."""
    stream = iter(data)
    return [_rest(byte, stream) for byte in stream]


def varint(stream: Iterator[int]) -> int:
    return _rest(next(stream), stream)


def _rest(byte: int, stream: Iterator[int]) -> int:
    value, shift = byte & 0x7F, 7
    while byte & 0x80:
        byte = next(stream)
        value |= (byte & 0x7F) << shift
        shift += 7
    return value
