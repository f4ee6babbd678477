"""What holds the memory of this process.

Memory that was allocated while allocations are traced is told by the place that allocated it. What was there
when tracing began is told as it was then: by its type and the type of what holds it, in sizes that objects
say of themselves. Nothing is traced until somebody asks: tracing makes Python several times slower and takes
memory itself, so it ends by itself.

What is told are names of functions, files and types, never a value. Memory of libraries in other languages
is in neither part, only in `resident`.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import tracemalloc
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType

import msgspec

from airlock.core.clock import Clock
from airlock.core.pprof import Frame

FRAMES = 3
"""Places of a stack that are kept for each allocation: each costs time at every allocation."""

MOST = 2000
"""Stacks, and types, that are told; the rest is one sum."""

REST = "(smaller ones)"


class Held(msgspec.Struct, frozen=True):
    """So many objects of one origin, and their bytes; `stack` starts with the innermost place."""

    stack: tuple[Frame, ...]
    objects: int
    size: int


class Heap(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one process."""

    pid: int
    resident: int
    """Bytes of memory that the process has, for whatever."""
    traced_since: float | None
    """Unix seconds; None where tracing only begins with this look."""
    traced: tuple[Held, ...]
    older: tuple[Held, ...]
    """What was there when tracing began."""


class Tracing:
    """Traces allocations of this process for as long as somebody wants it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0
        self._since: float | None = None
        self._older: tuple[Held, ...] = ()
        self._codes: list[CodeType] = []
        self._turn = threading.Lock()

    def keep(self, seconds: float) -> None:
        """Trace from now on, for at least so long. To begin takes a second: not for the event loop."""
        with self._turn:
            self._keep(seconds)

    def tick(self) -> None:
        """Stop when nobody wants it any more. Waits for nobody."""
        if self._since is None or self._clock.monotonic() < self._until:
            return
        if self._turn.acquire(blocking=False):
            tracemalloc.stop()
            self._since, self._older, self._codes = None, (), []
            self._turn.release()

    def look(self, seconds: float) -> Heap:
        """What holds memory now; goes on tracing for so long. Takes seconds where there is much: not for the
        event loop."""
        with self._turn:
            since = self._since
            self._keep(seconds)
            found = _traced() if since is not None else {}
            names = _Names([*self._codes, *_later()], {place for stack in found for place in stack})
            traced = [
                Held(tuple(map(names.frame, stack)), objects, size)
                for stack, (objects, size) in found.items()
            ]
            return Heap(
                pid=os.getpid(),
                resident=_resident(),
                traced_since=since,
                traced=_largest(traced),
                older=self._older,
            )

    def _keep(self, seconds: float) -> None:
        self._until = max(self._until, self._clock.monotonic() + seconds)
        if self._since is None:
            census = _Census()
            self._older, self._codes = _largest(census.found()), census.codes
            tracemalloc.start(FRAMES)
            self._since = self._clock.wall()


_Place = tuple[str, int]
"""File and line."""


def _traced() -> dict[tuple[_Place, ...], tuple[int, int]]:
    """Objects and bytes by stack, the innermost place first, without what tracing itself takes."""
    found: dict[tuple[_Place, ...], tuple[int, int]] = {}
    for one in tracemalloc.take_snapshot().statistics("traceback"):
        stack = tuple((frame.filename, frame.lineno) for frame in reversed(one.traceback))
        if stack[0][0] != tracemalloc.__file__:
            found[stack] = one.count, one.size
    return found


class _Census:
    """Every object that can be reached, by its type and that of what holds it."""

    def __init__(self) -> None:
        self._most = _resident()
        self._counts: dict[tuple[type, type], list[int]] = defaultdict(lambda: [0, 0])
        self._seen: set[int] = set()
        self.codes: list[CodeType] = []
        own = (self._counts, self._seen, self.codes, self.__dict__)
        self._seen.update(map(id, own))
        self._walk([(each, dict) for each in sys.modules.values()])
        self._walk([(each, object) for each in gc.get_objects()])

    def _walk(self, todo: list[tuple[object, type]]) -> None:
        seen, count = self._seen, self._count
        seen.add(id(todo))
        while todo:
            each, holder = todo.pop()
            if id(each) in seen:
                continue
            seen.add(id(each))
            count(each, holder)
            kind = type(each)
            todo += [(held, kind) for held in _held_by(each) if id(held) not in seen]

    def _count(self, each: object, holder: type) -> None:
        if isinstance(each, CodeType):
            self.codes.append(each)
        size = sys.getsizeof(each, 0)
        tally = self._counts[type(each), holder]
        tally[0] += 1
        tally[1] += size if size <= self._most else 0  # `msgspec.Raw` takes an address for its length

    def found(self) -> list[Held]:
        return [
            Held((Frame(_name(kind)), Frame(f"held by {_name(holder)}")), objects, size)
            for (kind, holder), (objects, size) in self._counts.items()
        ]


def _held_by(each: object) -> Iterable[object]:
    return each.co_consts if isinstance(each, CodeType) else gc.get_referents(each)


def _later() -> Iterator[CodeType]:
    """The code of functions that came to life since the worker froze what was there."""
    todo: list[object] = [each.__code__ for each in gc.get_objects() if isinstance(each, FunctionType)]
    while todo:
        each = todo.pop()
        if isinstance(each, CodeType):
            todo += each.co_consts
            yield each


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _Names:
    """The functions at places of the program, from the code that is loaded."""

    def __init__(self, codes: Iterable[CodeType], places: set[_Place]) -> None:
        files = {file for file, _ in places}
        self._modules = {file: name for name, file in _files() if file in files}
        self._codes: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for code in codes:
            if code.co_filename in files:
                last = max((line for *_, line in code.co_lines() if line), default=code.co_firstlineno)
                self._codes[code.co_filename].append((code.co_firstlineno, last, code.co_qualname))

    def frame(self, place: _Place) -> Frame:
        """The innermost function around this line; the module where there is none."""
        file, line = place
        around = [code for code in self._codes[file] if code[0] <= line <= code[1]]
        first, _, name = max(around, default=(0, 0, "<module>"))
        return Frame(f"{self._modules.get(file, Path(file).stem)}.{name}", file, line, first)


def _files() -> Iterator[tuple[str, str]]:
    for name, module in reversed(list(sys.modules.items())):
        file = module.__dict__.get("__file__")
        if isinstance(file, str):
            yield name, file


def _largest(found: list[Held]) -> tuple[Held, ...]:
    found.sort(key=lambda held: held.size, reverse=True)
    told, rest = found[:MOST], found[MOST:]
    if rest:
        objects, size = sum(held.objects for held in rest), sum(held.size for held in rest)
        told.append(Held((Frame(REST),), objects, size))
    return tuple(told)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
