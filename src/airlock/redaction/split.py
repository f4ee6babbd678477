"""Secrets that are split over neighbouring texts (content blocks): found in what a reader would join."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airlock.redaction.scan import Hit, Scanner

JOINTS = ("", " ")
"""What may stand between two texts where a secret goes on: nothing, or a blank (so does a PEM)."""

GOES_ON = "private_key"
"""The one secret whose parts may be hits by themselves: the rest of it has to go as well."""


class Split(msgspec.Struct, frozen=True):
    """One hit and its parts: number of the text, start, end."""

    detector: str
    parts: tuple[tuple[int, int, int], ...]

    def shares_nothing(self, other: Split) -> bool:
        """Whether no part of one is a part of the other: then they are two."""
        return set(self.parts).isdisjoint(other.parts)


def crossing(scanner: Scanner, texts: Sequence[str]) -> list[Split]:
    """Hits that lie in two or more of the texts, without those of which a part is a hit by itself.

    The latter are redacted where they are; the text behind them only looks as if it went on.
    """
    if len(texts) < 2:
        return []
    found: list[Split] = []
    for joint in JOINTS:
        for split in _over(scanner, texts, joint):
            known = next((at for at, other in enumerate(found) if not split.shares_nothing(other)), None)
            if known is None:
                found.append(split)
            else:
                found[known] = Split(split.detector, tuple(sorted({*split.parts, *found[known].parts})))
    return found


def _over(scanner: Scanner, texts: Sequence[str], joint: str) -> Iterator[Split]:
    """Blanks at the ends of a text are left out of the joining: they are how texts are laid out."""
    bodies = [text.strip() for text in texts]
    joined = joint.join(bodies)
    if scanner.clean(joined):
        return
    starts = list(accumulate((len(body) + len(joint) for body in bodies), initial=0))
    for hit in scanner.find(joined):
        first, last = bisect_right(starts, hit.start) - 1, bisect_right(starts, hit.end - 1) - 1
        if first == last:
            continue
        parts = tuple(
            (at, *span)
            for at in range(first, last + 1)
            if (span := _part(texts[at], hit.start - starts[at], hit.end - starts[at]))
        )
        if hit.detector == GOES_ON or not any(
            _alone(scanner, texts[at], start, end, hit) for at, start, end in parts
        ):
            yield Split(hit.detector, parts)


def _part(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The stretch of a text that lies between two positions of its body, which may be outside of it."""
    before = len(text) - len(text.lstrip())
    low, high = max(start, 0), min(end, len(text.strip()))
    return (before + low, before + high) if low < high else None


def _alone(scanner: Scanner, text: str, start: int, end: int, hit: Hit) -> bool:
    """Whether the text has a hit of the same kind by itself where the hit lies."""
    return any(
        own.detector == hit.detector and own.start < end and start < own.end for own in scanner.find(text)
    )
