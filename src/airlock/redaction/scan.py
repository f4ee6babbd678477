"""Find: stretches of a text that a detector stands for, as they are written and under one level of encoding.

One pass of an RE2 set over the text tells which shapes are there at all, which for most texts is none. Those
that are get located and checked. Time is linear in the text: RE2 does not backtrack, a shape that was refused
is looked for again behind its beginning, and what holds too many hits is one hit from there on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from airlock.redaction import decode, detectors, fields, validate
from airlock.redaction.pattern import Pattern, any_of, compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_HITS = 10_000
"""Hits of one shape in one text; what follows is withheld as a whole."""

PRINTABLE_SHARE = 0.7
"""Of decoded bytes, to be text: random bytes have 0.37, and look like an address once in ten megabytes."""

_STRONG = frozenset(("private_key", "aws_key", "github_token", "slack_token", "jwt"))
"""Detectors whose shapes random bytes do not have."""

_HEX = b"0123456789abcdefABCDEF-\r\n"
"""What digests and UUIDs are made of: their runs decode to no text, whatever the alignment."""

_NOT_PRINTABLE = bytes(byte for byte in range(256) if not (32 <= byte < 127 or byte in b"\t\r\n"))

_Span = tuple[int, int, detectors.Detector]


class Hit(msgspec.Struct, frozen=True):
    """`text[start:end]` is what `detector` stands for, or the encoded run that holds it."""

    start: int
    end: int
    detector: detectors.Detector


class Scanner:
    """Knows its detectors. It has no state that a call could change, so one serves all of them."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: of `detectors.NAMES`; raises ValueError for another."""
        if unknown := set(names) - set(detectors.NAMES):
            raise ValueError(f"no detector is called {min(unknown)}: there are {', '.join(detectors.NAMES)}")
        self._shapes = [shape for shape in detectors.SHAPES if shape.detector in names]
        self._patterns = [compiled(shape.pattern) for shape in self._shapes]
        self._encodings = range(len(self._shapes), len(self._shapes) + len(_ENCODINGS))
        self._base64 = self._encodings.stop
        self._match = any_of([*(shape.pattern for shape in self._shapes), *_ENCODINGS, detectors.BASE64])
        self._names = frozenset(names)

    def clean(self, text: str) -> bool:
        """Whether there is nothing to find, in the text and in each of its lines taken alone.

        False means: look. It costs one pass where nothing is encoded.
        """
        if not self._shapes:
            return True
        raw = text.encode("utf-8", "surrogatepass")
        seen = self._match(raw)
        if not seen:
            return True
        return min(seen) >= len(self._shapes) and not self._found(text, raw, seen)

    def find(self, text: str) -> list[Hit]:
        """Hits in order, none overlapping another."""
        if not self._shapes:
            return []
        raw = _bytes(text)
        seen = self._match(raw)
        return self._found(text, raw, seen) if seen else []

    def member(self, key: str, value: str) -> detectors.Detector | None:
        """The detector that stands for a whole value because of the name of its field."""
        name = fields.named(key)
        return name if name in self._names and fields.holds(name, value) else None

    def looks_for(self, detector: detectors.Detector) -> bool:
        """Whether a detector is on."""
        return detector in self._names

    def _found(self, text: str, raw: bytes, seen: list[int]) -> list[Hit]:
        """Hits in the text, in what its escapes mean, and in the base64 of that."""
        found = _in_text(raw, self._locate(raw, seen))
        layers: Sequence[decode.Layer] = ()
        if any(encoding in seen for encoding in self._encodings) and (layers := decode.plain(text)):
            raw = _bytes(layers[-1].text)
            seen = self._match(raw) or []
            found += _through(layers, _in_text(raw, self._locate(raw, seen)))
        if self._base64 in seen:
            found += _through(layers, _in_text(raw, self._encoded(raw)))
        return _merged(found)

    def _locate(self, raw: bytes, seen: Iterable[int]) -> list[_Span]:
        """Checked hits of the shapes that were seen, as offsets in bytes."""
        found: list[_Span] = []
        for shape in seen:
            if shape < len(self._shapes):
                name = self._shapes[shape].detector
                spans = _spans(raw, self._patterns[shape], validate.CHECKS[name])
                found.extend((start, end, name) for start, end in spans)
        return found

    def _encoded(self, raw: bytes) -> list[_Span]:
        """Runs of base64 that hold a hit."""
        places = [match.span() for match in _BASE64.finditer(raw) if match.group().translate(None, _HEX)]
        found: list[_Span] = []
        for decoded, runs in decode.base64(raw, places):
            for start, _, name in self._locate(decoded, self._match(decoded) or ()):
                run = decode.run_at(runs, start)
                if name in _STRONG or _is_text(decoded[run.start : run.end]):
                    found.append((run.low, run.high, name))
        return found


_BASE64 = compiled(detectors.BASE64)
_ENCODINGS = (detectors.PERCENT, detectors.ESCAPE, detectors.ENTITY, decode.lookalikes())


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair is no text, but must not be a way past the scanner.
    return text.encode("utf-8", "surrogatepass")


def _spans(raw: bytes, pattern: Pattern, check: validate.Check) -> list[tuple[int, int]]:
    """What the check accepts of the matches of a pattern."""
    found: list[tuple[int, int]] = []
    group = pattern.groups
    position = 0
    while match := pattern.search(raw, position):
        start, end = match.span(group)
        verdict = check(raw, start, end)
        if isinstance(verdict, int):
            position = verdict
            continue
        if len(found) == MAX_HITS:
            found.append((verdict[0], len(raw)))
            break
        found.append(verdict)
        position = verdict[1]
    return found


def _in_text(raw: bytes, spans: list[_Span]) -> list[Hit]:
    """Offsets in bytes as positions in the text."""
    if raw.isascii():
        return [Hit(*span) for span in spans]
    places: dict[int, int] = {0: 0}
    last = 0
    for offset in sorted({place for start, end, _ in spans for place in (start, end)}):
        places[offset] = places[last] + len(raw[last:offset].decode("utf-8", "surrogatepass"))
        last = offset
    return [Hit(places[start], places[end], name) for start, end, name in spans]


def _through(layers: Sequence[decode.Layer], hits: list[Hit]) -> list[Hit]:
    """Hits in the last layer as hits in the text that it was made of."""
    return [Hit(*decode.origin(layers, hit.start, hit.end), hit.detector) for hit in hits]


def _merged(hits: list[Hit]) -> list[Hit]:
    """What overlaps becomes one, under the name that comes first in the order of detectors."""
    merged: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if merged and hit.start < merged[-1].end:
            last = merged[-1]
            first = min(last, hit, key=lambda hit: detectors.NAMES.index(hit.detector))
            merged[-1] = Hit(last.start, max(last.end, hit.end), first.detector)
        else:
            merged.append(hit)
    return merged


def _is_text(decoded: bytes) -> bool:
    rest = decoded.rstrip(b"\0")
    return len(rest.translate(None, _NOT_PRINTABLE)) >= PRINTABLE_SHARE * len(rest)
