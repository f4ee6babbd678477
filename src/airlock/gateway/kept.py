"""Streams of legacy sessions, and what was said on them, for as long as a client may ask for it again.

A stream is kept by the worker on which it began: the id of each event names that worker, the stream and the
event. What is kept is bounded by number, bytes and time; who asks for what is gone gets what is still there
of the same stream and session, never of another.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from airlock.core.clock import Clock
from airlock.gateway.slices import in_slices
from airlock.mcp import jsonrpc
from airlock.model.call import Redacted

EVENTS, BYTES = 256, 1024 * 1024
"""Events of one stream that are kept, and their bytes."""

LIFETIME = 300.0
"""Seconds for which a stream is kept that nobody reads."""

TOTAL = 64 * 1024 * 1024
"""Bytes of all streams together; beyond that is forgotten what the streams hold that began to hold first."""

RETRY = 1000
"""Milliseconds after which a client may come back to a stream that we close."""


class EventId(msgspec.Struct, frozen=True):
    """Where an event is: the worker, the stream there, its number from 1; 0 is before the first."""

    slot: int
    stream: str
    number: int

    @property
    def text(self) -> str:
        return f"{self.slot}.{self.stream}.{self.number}"


def event_id(text: str) -> EventId | None:
    """The id in a `Last-Event-ID`; None where it is none of ours."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() for part in parts):
        return None
    slot, stream, number = parts
    if not (slot.isdigit() and number.isdigit() and max(len(slot), len(number)) < 10):
        return None
    return EventId(int(slot), stream, int(number))


class Batch(msgspec.Struct, frozen=True):
    """What came on a stream since the last look."""

    data: str
    """Whole events."""
    number: int
    """Of the last event."""
    ended: bool


class Kept:
    """One stream. `wake` is called on every change; it has one reader at a time, the last who came."""

    __slots__ = (
        "_data",
        "_size",
        "_streams",
        "call",
        "ended",
        "id",
        "idle_since",
        "number",
        "session",
        "wake",
    )

    def __init__(self, streams: Streams, session: str, now: float) -> None:
        self._streams = streams
        self._data: deque[bytes] = deque()
        self._size = 0
        self.id = secrets.token_urlsafe(16)
        self.session = session
        self.number = 0
        """Of the last event."""
        self.ended = False
        self.idle_since = now
        """Monotonic seconds since when nobody reads."""
        self.call: Redacted | None = None
        """Whose answer nobody has fetched."""
        self.wake: Callable[[], None] | None = None

    @property
    def size(self) -> int:
        return self._size

    @property
    def opening(self) -> bytes:
        """The event without a message that lets a client come back before there is one."""
        return f"id: {self._id(0)}\ndata: \n\n".encode()

    def _id(self, number: int) -> str:
        return EventId(self._streams.slot, self.id, number).text

    def add(self, message: bytes) -> bytes:
        """Keep one JSON-RPC message; the event that holds it."""
        self.number += 1
        event = b"id: %b\nevent: message\ndata: %b\n\n" % (self._id(self.number).encode(), message)
        self._data.append(event)
        self._size += len(event)
        self._streams.grown(self, len(event))
        while len(self._data) > EVENTS or (self._size > BYTES and len(self._data) > 1):
            self._drop()
        self.changed()
        return event

    def end(self, call: Redacted | None = None) -> None:
        """Nothing more will be said. `call`: its answer is on the stream, and its client was gone."""
        self.ended, self.call = True, call
        self.changed()

    def forget(self) -> None:
        """What was said may not be asked for again."""
        while self._data:
            self._drop()

    def after(self, number: int) -> Batch:
        """What came after this event, as far as it is kept."""
        missing = min(max(0, self.number - number), len(self._data))
        events = list(self._data)[len(self._data) - missing :]
        if self.ended:
            self.call = None
        return Batch(b"".join(events).decode(), self.number, self.ended)

    def changed(self) -> None:
        if self.wake is not None:
            self.wake()

    def _drop(self) -> None:
        size = len(self._data.popleft())
        self._size -= size
        self._streams.grown(self, -size)


class Streams:
    """The streams of one worker. Used on the event loop only."""

    def __init__(
        self, *, slot: int, clock: Clock, undelivered: Callable[[Redacted], Awaitable[None]]
    ) -> None:
        """`undelivered` records an answer that its client never got."""
        self.slot = slot
        self.size = 0
        self.draining = False
        self._clock = clock
        self._undelivered = undelivered
        self._kept: dict[str, Kept] = {}
        self._holding: OrderedDict[str, Kept] = OrderedDict()
        self._standing: dict[str, Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def begin(self, session: str) -> Kept:
        """A new stream for one answer."""
        kept = Kept(self, session, self._clock.monotonic())
        self._kept[kept.id] = kept
        return kept

    def stand(self, session: str) -> Kept:
        """The stream of a session on which everything is said that belongs to no request; one before it
        ends."""
        self.fall(session)
        kept = self._standing[session] = self.begin(session)
        return kept

    def fall(self, session: str) -> None:
        """End the standing stream of a session, if it has one here."""
        before = self._standing.pop(session, None)
        if before is not None:
            before.end()

    def find(self, stream: str, session: str) -> Kept | None:
        """A stream of this session."""
        found = self._kept.get(stream)
        return found if found is not None and found.session == session else None

    def standing(self) -> list[str]:
        """The sessions that have a standing stream here."""
        return list(self._standing)

    def read(self) -> list[str]:
        """The sessions whose standing stream somebody reads here."""
        return [session for session, kept in self._standing.items() if kept.wake is not None]

    def say(self, session: str, method: str, params: Mapping[str, object]) -> bool:
        """A notification for a session; false where it has no standing stream here."""
        kept = self._standing.get(session)
        if kept is None:
            return False
        kept.add(jsonrpc.notification(method, dict(params)))
        return True

    def end_session(self, session: str) -> None:
        """Forget everything that was said in a session."""
        self.fall(session)
        for kept in [kept for kept in self._kept.values() if kept.session == session]:
            kept.end()
            self._remove(kept)

    def drain(self) -> None:
        """Let everybody who reads come back elsewhere."""
        self.draining = True
        self.look()

    def look(self) -> None:
        """Let everybody who reads see whether they still may."""
        in_slices(tuple(self._kept.values()), Kept.changed)

    async def wait(self, kept: Kept, number: int, seconds: float) -> Batch:
        """What came after this event, waited for so long; ended for who is not the last to read it."""
        if kept.number > number or kept.ended or self.draining:
            return kept.after(number)
        woken = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        kept.changed()
        kept.wake = wake
        try:
            async with asyncio.timeout(seconds):
                await woken
        except TimeoutError:
            pass
        finally:
            replaced = kept.wake is not wake
            if not replaced:
                kept.wake, kept.idle_since = None, self._clock.monotonic()
        return Batch("", number, True) if replaced else kept.after(number)

    async def lost(self, call: Redacted) -> None:
        """An answer that cannot be asked for again, and whose client is gone."""
        await self._undelivered(call)

    async def sweep(self) -> None:
        """Forget what nobody has asked for in time."""
        oldest = self._clock.monotonic() - LIFETIME
        for kept in [kept for kept in self._kept.values() if self._idle(kept, oldest)]:
            self._remove(kept)
            if kept.call is not None:
                await self.lost(kept.call)

    def _idle(self, kept: Kept, oldest: float) -> bool:
        answered = kept.ended or self._standing.get(kept.session) is kept
        return answered and kept.wake is None and kept.idle_since < oldest

    def _remove(self, kept: Kept) -> None:
        kept.forget()
        self._kept.pop(kept.id, None)
        if self._standing.get(kept.session) is kept:
            del self._standing[kept.session]

    def grown(self, kept: Kept, size: int) -> None:
        """Account for what a stream keeps; others make room, each of which holds nothing then."""
        self.size += size
        if size > 0:
            self._holding[kept.id] = kept
            while self.size > TOTAL and len(self._holding) > 1:
                oldest = next(iter(self._holding.values()))
                if oldest is kept:
                    self._holding.move_to_end(kept.id)
                else:
                    oldest.forget()
        elif not kept.size:
            del self._holding[kept.id]
