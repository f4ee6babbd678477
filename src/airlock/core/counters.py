"""Counts that all workers of a host share, without a lock: each writes to its own region, and reads all.

The memory is one mapping of 64-bit words that `Shared` cuts into tables. Keys are keyed hashes, so nobody can
choose which of them meet. Tables have a fixed size: a new key takes the place of one whose time is over, or
else of the smallest count in its set, so a flood of keys cannot make the memory grow nor hide who asks most.

A word is written and read as a whole (aligned 8 bytes). A reader that meets a slot while its owner gives it
to another key sees no count for one moment; nothing is ever counted twice.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from airlock.core.units import Rate

WAYS = 8
"""Slots of one set: the places that a key may take."""

SETS = 8192
"""Sets of one table of one worker, a power of two: 65,536 keys at a time."""

HEADER = 8
"""Words before the first table; the first four hold the secret of the hashes."""

_FIELDS = 3
"""Words of a slot: key, state, end of its time."""

_keys = struct.Struct(f"{WAYS}Q").unpack_from
"""The keys of a set; takes the mapping and the offset of the set in bytes."""

_COUNT = (1 << 24) - 1
"""Largest count of one worker and window; beyond, it stands still."""

_WINDOW = (1 << 16) - 1


class Limit(msgspec.Struct, frozen=True):
    """At most `count` in any window of `seconds`; `salt` keeps its keys apart from those of other limits."""

    name: str
    count: int
    seconds: int
    salt: int


class Shared:
    """The mapping, as one worker sees it. `words` has `size(workers)` items of 64 bits, zero at the start."""

    def __init__(self, words: memoryview, *, workers: int, slot: int) -> None:
        self._secret = words[:4].tobytes()
        table = SETS * WAYS * _FIELDS
        start = HEADER
        self.callers = Windows(words, [start + table * worker for worker in range(workers)], slot)
        start += table * workers
        self.strangers = Windows(words, [start + table * worker for worker in range(workers)], slot)
        start += table * workers
        gauge = SETS * 2
        self.running = Running(words, [start + gauge * worker for worker in range(workers)], slot)

    @staticmethod
    def size(workers: int) -> int:
        """Words that so many workers need."""
        return HEADER + workers * SETS * (2 * WAYS * _FIELDS + 2)

    def key(self, identity: str) -> int:
        """64 bits for an identity, the same in every worker, which no stranger can compute."""
        digest = hashlib.blake2b(identity.encode(), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "little") or 1

    def limit(self, name: str, rate: Rate) -> Limit:
        """The limit of this name and rate."""
        return Limit(name, rate.count, rate.seconds, self.key(f"{name}/{rate.seconds}"))


class Windows:
    """Counts in sliding windows: what the window before held counts by the part of it that still overlaps."""

    def __init__(self, words: memoryview, regions: list[int], slot: int) -> None:
        self._words = words
        self._own = regions[slot]
        self._others = [region for region in regions if region != self._own]
        self._places: dict[int, int] = {}
        """Where the keys of the own region stand; what an earlier worker left there is found again."""
        for first in range(self._own, self._own + SETS * WAYS * _FIELDS, WAYS * _FIELDS):
            for way, key in enumerate(_keys(words, first * 8)):
                if key:
                    self._places[key] = first + way

    def __len__(self) -> int:
        """Keys that this worker holds."""
        return len(self._places)

    def wait(self, key: int, limit: Limit, now: float) -> float:
        """Seconds until one more fits; 0.0 where it fits now. Counts nothing. `now` is monotonic seconds."""
        most, seconds = limit.count, limit.seconds
        if most <= 0:
            return float(seconds)
        window = int(now // seconds)
        key = key ^ limit.salt or 1
        place = self._places.get(key)
        if place is not None and self._words[place + 2 * WAYS] > now:
            current, before = _at(self._words[place + WAYS], window)
        else:
            current = before = 0
        if self._others:
            current, before = self._with_others(key, window, now, current, before)
        if not before and current < most:
            return 0.0
        part = now / seconds - window
        if current + before * (1.0 - part) <= most - 1:
            return 0.0
        if current < most:  # enough of the window before must have left
            return seconds * (1.0 - (most - 1 - current) / before - part)
        return seconds * (1.0 - part + 1.0 - (most - 1) / current)

    def add(self, key: int, limit: Limit, now: float) -> None:
        """Count one."""
        words, key = self._words, key ^ limit.salt or 1
        window = int(now // limit.seconds)
        place = self._places.get(key)
        if place is None:
            place = self._victim(key, now)
            self._places.pop(words[place], None)
            words[place] = 0
            self._places[key] = place
            current = before = 0
        elif words[place + 2 * WAYS] <= now:
            current = before = 0
        else:
            current, before = _at(words[place + WAYS], window)
        if current < _COUNT:
            current += 1
        words[place + WAYS] = (window & _WINDOW) << 48 | before << 24 | current
        words[place + 2 * WAYS] = (window + 2) * limit.seconds
        words[place] = key

    def _with_others(self, key: int, window: int, now: float, current: int, before: int) -> tuple[int, int]:
        """What all workers counted in this window and in the one before, from what this one did."""
        words = self._words
        inside = (key & (SETS - 1)) * WAYS * _FIELDS
        for region in self._others:
            keys = _keys(words, (region + inside) * 8)
            if key in keys:
                place = region + inside + keys.index(key)
                state, until = words[place + WAYS], words[place + 2 * WAYS]
                if until > now and words[place] == key:
                    one, other = _at(state, window)
                    current, before = current + one, before + other
        return current, before

    def _victim(self, key: int, now: float) -> int:
        """The slot of the own region that a new key gets."""
        words = self._words
        first = self._own + (key & (SETS - 1)) * WAYS * _FIELDS
        best, least = first, 2 * _COUNT + 1
        for place in range(first, first + WAYS):
            if words[place + 2 * WAYS] <= now:
                return place
            state = words[place + WAYS]
            count = (state & _COUNT) + (state >> 24 & _COUNT)
            if count < least:
                best, least = place, count
        return best


def _at(state: int, window: int) -> tuple[int, int]:
    """What a slot says of this window and the one before."""
    age = (window - (state >> 48)) & _WINDOW
    current, before = state & _COUNT, state >> 24 & _COUNT
    if age == 0:
        return current, before
    if age == 1:
        return 0, current
    if age == _WINDOW:  # its worker looked at the clock a moment later, in the next window
        return before, 0
    return 0, 0


class Running:
    """How much of each key runs now. A worker that died counts until its successor begins."""

    def __init__(self, words: memoryview, regions: list[int], slot: int) -> None:
        self._words = words
        self._own = regions[slot]
        self._others = [region for region in regions if region != self._own]
        self._mine: dict[int, int] = {}
        for place in range(self._own, self._own + 2 * SETS):
            words[place] = 0

    def count(self, key: int) -> int:
        """How many run in all workers."""
        total = self._mine.get(key, 0)
        for region in self._others:
            place = self._place(region, key, key)
            if place >= 0:
                total += self._words[place + 1]
        return total

    def begin(self, key: int) -> None:
        """One more."""
        count = self._mine[key] = self._mine.get(key, 0) + 1
        if not self._others:  # nobody would read it
            return
        place = self._place(self._own, key, key)
        if place < 0:
            place = self._place(self._own, key, 0)
        self._publish(place, key, count)

    def end(self, key: int) -> None:
        """One less."""
        count = self._mine[key] - 1
        if count:
            self._mine[key] = count
        else:
            del self._mine[key]
        if self._others:
            self._publish(self._place(self._own, key, key), key if count else 0, count)

    def _publish(self, place: int, key: int, count: int) -> None:
        """Tell the others. Where no slot of the key's set is free, this worker alone knows of it."""
        if place >= 0:
            self._words[place + 1] = count
            self._words[place] = key

    def _place(self, region: int, key: int, wanted: int) -> int:
        """The slot of the key's set that holds `wanted`; -1 where none does."""
        first = region + (key & (SETS // WAYS - 1)) * WAYS * 2
        words = self._words
        for place in range(first, first + 2 * WAYS, 2):
            if words[place] == wanted:
                return place
        return -1
