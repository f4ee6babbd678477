"""One level of encoding taken off a text, with the way back to the stretch that made each character.

Percent, backslash and HTML escapes, look-alikes of ASCII (NFKC), characters that show nothing, and runs of
base64. All of it is split and table look-up: time is linear, whatever the text.
"""

from __future__ import annotations

import binascii
import unicodedata
from bisect import bisect_right
from functools import cache
from html.entities import html5
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Layer(Protocol):
    """A text and how to get from its positions to those of its source."""

    text: str

    def source(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the source that `text[start:end]` was made of; `start < end`."""
        ...


class Pieces:
    """A text made of pieces, each beginning with at most one character that was written longer."""

    def __init__(self, pieces: Sequence[str], written: Sequence[int]) -> None:
        """`written`: length of each piece in the source."""
        self.text = "".join(pieces)
        self._pieces = pieces
        self._written = written
        self._starts: list[int] = []
        self._origins: list[int] = []

    def source(self, start: int, end: int) -> tuple[int, int]:
        if not self._starts:
            self._starts = list(accumulate((len(piece) for piece in self._pieces), initial=0))
            self._origins = list(accumulate(self._written, initial=0))
        return self._place(start)[0], self._place(end - 1)[1]

    def _place(self, position: int) -> tuple[int, int]:
        piece = bisect_right(self._starts, position) - 1
        offset, origin = position - self._starts[piece], self._origins[piece]
        longer = self._written[piece] - len(self._pieces[piece])
        return (
            (origin + offset + longer, origin + offset + longer + 1)
            if offset
            else (origin, origin + 1 + longer)
        )


class Folded:
    """A text in which characters were exchanged one for one, or left out."""

    def __init__(self, source: str, text: str, left_out: frozenset[str]) -> None:
        self.text = text
        self._source = source
        self._left_out = left_out
        self._kept: list[int] = []

    def source(self, start: int, end: int) -> tuple[int, int]:
        if len(self.text) == len(self._source):
            return start, end
        if not self._kept:
            self._kept = [at for at, char in enumerate(self._source) if char not in self._left_out]
        return self._kept[start], self._kept[end - 1] + 1


class Run(msgspec.Struct, frozen=True):
    """`decoded[start:end]` was made of the base64 at `text[low:high]` of the source (offsets in bytes)."""

    start: int
    end: int
    low: int
    high: int


def plain(text: str) -> list[Layer]:
    """The text with its escapes resolved, step by step: the last layer has none; empty if there are none."""
    layers: list[Layer] = []
    for mark, read in (("%", _percent), ("\\", _backslash), ("&", _entity)):
        source = layers[-1].text if layers else text
        if mark in source and (layer := _resolved(source, mark, read)):
            layers.append(layer)
    source = layers[-1].text if layers else text
    if not source.isascii() and (folded := _folded(source)):
        layers.append(folded)
    return layers


def origin(layers: Sequence[Layer], start: int, end: int) -> tuple[int, int]:
    """The stretch of the text that `plain` was given."""
    for layer in reversed(layers):
        start, end = layer.source(start, end)
    return start, end


Escape = tuple[int, str] | None
"""How much behind its mark an escape takes, and the one character that it means, or none of them."""


def _resolved(source: str, mark: str, read: Callable[[str], Escape]) -> Pieces | None:
    """`read` gets what follows a mark; the answer is None where nothing in the text is an escape."""
    first, *others = source.split(mark)
    pieces, written, changed = [first], [len(first)], False
    for other in others:
        escape = read(other)
        changed = changed or escape is not None
        pieces.append(mark + other if escape is None else escape[1] + other[escape[0] :])
        written.append(1 + len(other))
    return Pieces(pieces, written) if changed else None


_HEX = {
    f"{high}{low}": int(high + low, 16)
    for high in "0123456789abcdefABCDEF"
    for low in "0123456789abcdefABCDEF"
}


def _percent(after: str) -> Escape:
    byte = _HEX.get(after[:2])
    return None if byte is None else (2, chr(byte))


_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "/": "/", '"': '"', "'": "'"}


def _backslash(after: str) -> Escape:
    """JSON, JavaScript and Python. Doubled backslashes go: JSON in JSON doubles those of its escapes."""
    if not after:
        return 0, ""
    kind = after[0]
    if kind == "u":
        high, low = _HEX.get(after[1:3]), _HEX.get(after[3:5])
        return _braced(after) if high is None or low is None else (5, _character(high << 8 | low))
    if kind == "x":
        byte = _HEX.get(after[1:3])
        return None if byte is None else (3, chr(byte))
    char = _CONTROLS.get(kind)
    return None if char is None else (1, char)


def _braced(after: str) -> Escape:
    """`u{41}`."""
    digits, closed, _ = after[2:9].partition("}")
    char = _char(digits, 16) if closed and after[1:2] == "{" else ""
    return (3 + len(digits), char) if char else None


def _entity(after: str) -> Escape:
    """Numbers with or without their semicolon, as browsers read them, and names that mean one character."""
    if after[:1] != "#":
        name = after[: after.find(";", 0, 33) + 1]
        char = html5.get(name, "")
        return (len(name), char) if len(char) == 1 else None
    base, start = (16, 2) if after[1:2] in {"x", "X"} else (10, 1)
    known = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
    rest = after[start : start + 8]
    stop = start + len(rest) - len(rest.lstrip(known))
    char = _char(after[start:stop], base)
    return (stop + (after[stop : stop + 1] == ";"), char) if char else None


def _char(digits: str, base: int) -> str:
    try:
        return _character(int(digits, base))
    except ValueError:
        return ""


def _character(point: int) -> str:
    """Raises ValueError beyond Unicode. Half of a surrogate pair means nothing by itself."""
    return "\ufffd" if 0xD800 <= point < 0xE000 else chr(point)


_LOOKALIKES = (
    (0xA0, 0x2E80),
    (0x3000, 0x3100),
    (0xFE00, 0x10000),
    (0x1D400, 0x1D800),
    (0x1F100, 0x1F200),
    (0x1FBF0, 0x1FBFA),
)
"""Blocks with characters that NFKC makes one character of ASCII."""

_DASHES = "\u2010\u2011\u2012\u2013\u2212\ufe58\ufe63\uff0d"
_MATTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz @.:+-/=_&%\\")
"""Characters that secrets, addresses and what announces them are made of. The others of wide type are plain
punctuation of Chinese and Japanese."""
_SHOW_NOTHING = "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff"


@cache
def _folding() -> tuple[dict[int, str], frozenset[str]]:
    """Exchanges for `str.translate`, and the characters that it leaves out."""
    table = dict.fromkeys(map(ord, _DASHES), "-")
    for low, high in _LOOKALIKES:
        for point in range(low, high):
            normal = unicodedata.normalize("NFKC", chr(point))
            if len(normal) == 1 and normal in _MATTERS:
                table[point] = normal
    left_out = frozenset(_SHOW_NOTHING) | {
        chr(point) for point in (*range(0xFE00, 0xFE10), *range(0xE0000, 0xE0080))
    }
    return table | {ord(char): "" for char in left_out}, left_out


def lookalikes() -> str:
    """What `plain` exchanges or leaves out in text that is not ASCII, as a class of RE2."""
    table, _ = _folding()
    return "[" + "".join(rf"\x{{{point:X}}}" for point in sorted(table)) + "]"


def _folded(source: str) -> Folded | None:
    table, left_out = _folding()
    text = source.translate(table)
    return None if text == source else Folded(source, text, left_out)


_SEPARATOR = b"AAAA"
"""Between runs: three zero bytes, which are in no secret."""
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_BLANK = b"\r\n="


def run_at(runs: Sequence[Run], position: int) -> Run:
    """The run that a decoded position belongs to."""
    return runs[bisect_right(runs, position, key=lambda run: run.start) - 1]


def base64(raw: bytes, spans: Iterable[tuple[int, int]]) -> Iterable[tuple[bytes, list[Run]]]:
    """The runs of base64 decoded, at each of the four alignments that a run glued to other text may have."""
    places = list(spans)
    written = [raw[low:high].translate(_TO_STANDARD, _BLANK) for low, high in places]
    for skip in range(4):
        parts: list[bytes] = []
        runs: list[Run] = []
        at = 0
        for run, (low, high) in zip(written, places, strict=True):
            part = run[skip:]
            part += b"A" * (-len(part) % 4) + _SEPARATOR
            parts.append(part)
            size = len(part) // 4 * 3
            runs.append(Run(at, at + size, low, high))
            at += size
        yield binascii.a2b_base64(b"".join(parts)), runs
