"""`GET` on an MCP route: what is said in a legacy session outside of answers, or what a client missed.

1 the token counts, and the caller is not contained
2 the session is the caller's own; whoever names none, or takes no stream, finds nothing here (H-1)
3 a bounded number of streams for each caller
4 with `Last-Event-ID`: that stream of this session from there on, wherever it is kept; else the one stream of
  the session that answers no request

Who listens is looked at again whenever the world changes (`Audience`): what would not be opened then, ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused, Rejected
from airlock.gateway.audience import Audience, Hearer
from airlock.gateway.changes import Changes, news
from airlock.gateway.kept import Batch, EventId, Kept, Streams, event_id
from airlock.gateway.sessions import SESSION_HEADER, Session, Sessions
from airlock.mcp import eras
from airlock.mcp.headers import accepts
from airlock.mcp.jsonrpc import Request
from airlock.model.call import Authenticated, Client, Identified, Inbound, Reached

MOST_OF_CALLER = 64
"""Streams that one caller may hold open in one worker."""

POLL = 5.0
"""Seconds for which another worker holds a question for more, at most."""

Far = Callable[[int, dict[str, Any]], Awaitable[dict[str, Any] | None]]
"""Asks the worker of a slot for more of a stream; None where it does not answer."""


class Record(Protocol):
    """The part of the audit envelope that a refused stream needs."""

    async def refuse(self, reached: Reached, failure: Refused | Fault) -> None: ...


def _nothing() -> None:
    """Nothing is held, and nothing waits."""


def _nobody(_: Hearer) -> None:
    """Nobody is looked at."""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that may be read."""

    opening: bytes
    """What it begins with."""
    number: int
    """The event before the first that is to be read."""
    more: Callable[[int, float], Awaitable[Batch | None]]
    """What came after this event, waited for so many seconds; None where the stream is gone."""
    look: Callable[[], Awaitable[bool]]
    """Whether it may be read on; what has changed in the lists of its caller is on it then."""
    inbound: Inbound
    """What opened it."""
    may: Callable[[Authenticated], bool]
    """Whether it still is a stream of this caller."""
    changed: Callable[[], None] = _nothing
    """Has whoever waits for more look."""
    enter: Callable[[Hearer], None] = _nobody
    """To be called once, before the first `look`: who reads is among those that are looked at."""
    close: Callable[[], None] = _nothing
    """To be called once, at its end."""


class Listening:
    """See the module."""

    def __init__(
        self,
        *,
        authenticate: Callable[[Inbound], Authenticated],
        sessions: Sessions,
        audience: Audience,
        streams: Streams,
        far: Far,
        alone: Callable[[str], None],
        changes: Changes,
        record: Record,
        clock: Clock,
    ) -> None:
        """`alone` ends the standing stream of a session in every other worker."""
        self._authenticate = authenticate
        self._sessions = sessions
        self._audience = audience
        self._streams = streams
        self._far = far
        self._alone = alone
        self._changes = changes
        self._record = record
        self._clock = clock
        self._held: Counter[str] = Counter()

    async def __call__(self, inbound: Inbound) -> Opened:
        """The stream that is asked for. Raises `Refused` or `Fault` once that is recorded."""
        reached: Reached = inbound
        try:
            reached = caller = self._authenticate(inbound)  # 1
            self._sessions.permit(caller)
            session = self._session(caller)  # 2
            with ExitStack() as held:
                self._hold(caller.principal.key, held)  # 3
                opened = await self._opened(caller, session)  # 4
                taken = held.pop_all()

            def enter(hearer: Hearer) -> None:
                self._audience.enter(hearer)
                taken.callback(self._audience.forget, hearer)

            return msgspec.structs.replace(opened, enter=enter, close=taken.close)
        except (Refused, Fault) as failure:
            await self._record.refuse(reached, failure)
            raise

    async def more(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """For another worker: more of a stream that is kept here."""
        kept = self._streams.find(asked["stream"], asked["session"])
        if kept is None:
            return {"gone": True}
        batch = await self._streams.wait(kept, asked["number"], min(asked["seconds"], POLL))
        return {"data": batch.data, "number": batch.number, "ended": batch.ended}

    def _hold(self, key: str, held: ExitStack) -> None:
        """A place for one more stream, before anything is waited for; `held` gives it back."""
        if self._held[key] >= MOST_OF_CALLER:
            raise _too_many()
        self._held[key] += 1
        held.callback(self._let_go, key)

    def _let_go(self, key: str) -> None:
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]

    def _session(self, caller: Authenticated) -> Session:
        headers = caller.inbound.headers
        named, version = headers.get(SESSION_HEADER), headers.get("mcp-protocol-version")
        modern = version is not None and version not in eras.LEGACY
        streams = headers.get("accept") is not None and accepts(headers).sse
        if named is None or modern or not streams:
            text = f"GET is served with {SESSION_HEADER} and `Accept: text/event-stream` only."
            raise Rejected(405, -32600, "method_not_allowed", text, headers=(("allow", "POST"),))
        return self._sessions.open(named, caller, self._clock.wall())

    async def _opened(self, caller: Authenticated, session: Session) -> Opened:
        last = caller.inbound.headers.get("last-event-id")
        if last is None:
            self._alone(session.sid)
            return await self._standing(caller, session)
        at = event_id(last)
        if at is None:
            raise _unknown_event()
        if at.slot != self._streams.slot:
            more = partial(self._elsewhere, session.sid, at)
            if await more(at.number, 0.0) is None:
                raise _unknown_event()
            look, may = partial(self._allowed, caller.inbound), partial(self._may, session)
            return Opened(
                opening=b"", number=at.number, more=more, look=look, inbound=caller.inbound, may=may
            )
        kept = self._streams.find(at.stream, session.sid)
        if kept is None:
            raise _unknown_event()
        return self._here(caller, session, kept, at)

    async def _standing(self, caller: Authenticated, session: Session) -> Opened:
        """The stream that answers no request: it tells of lists that have changed."""
        kept = self._streams.stand(session.sid)
        seen = await self._changes.seen(listing(caller, session))
        last = caller.snapshot

        async def look() -> bool:
            nonlocal seen, last
            now = self._allowed_now(caller.inbound)
            if now is not None and now.snapshot is not last:
                last, before = now.snapshot, seen
                seen = before | await self._changes.seen(listing(now, session))
                for notification in news(before, seen):
                    self._streams.say(session.sid, notification, {})
            return now is not None

        opening = kept.opening if session.version == eras.LATEST_LEGACY else b""
        opened = self._here(caller, session, kept, EventId(self._streams.slot, kept.id, 0))
        return msgspec.structs.replace(opened, opening=opening, look=look, changed=kept.changed)

    def _here(self, caller: Authenticated, session: Session, kept: Kept, at: EventId) -> Opened:
        async def more(number: int, seconds: float) -> Batch | None:
            return await self._streams.wait(kept, number, seconds)

        return Opened(
            opening=b"",
            number=at.number,
            more=more,
            look=partial(self._allowed, caller.inbound),
            inbound=caller.inbound,
            may=partial(self._may, session),
        )

    def _may(self, session: Session, caller: Authenticated) -> bool:
        return self._sessions.still(session, caller, self._clock.wall())

    async def _elsewhere(self, session: str, at: EventId, number: int, seconds: float) -> Batch | None:
        asked = {"stream": at.stream, "session": session, "number": number, "seconds": seconds}
        found = await self._far(at.slot, asked)
        if found is None or "gone" in found:
            return None
        return msgspec.convert(found, Batch)

    async def _allowed(self, inbound: Inbound) -> bool:
        return self._allowed_now(inbound) is not None

    def _allowed_now(self, inbound: Inbound) -> Authenticated | None:
        if self._streams.draining:
            return None
        try:
            caller = self._authenticate(inbound)
            self._sessions.permit(caller)
            self._session(caller)
        except (Refused, Fault):
            return None
        return caller


def listing(caller: Authenticated, session: Session) -> Identified:
    """As if the caller asked for a list in its session."""
    client = Client(version=session.version, modern=False, capabilities={}, session=session.sid)
    return Identified(caller=caller, client=client, message=Request(0, "tools/list", {}))


def _unknown_event() -> Rejected:
    text = "`Last-Event-ID` names nothing that is still kept of this session."
    return Rejected(400, -32600, "event_unknown", text)


def _too_many() -> Rejected:
    text = f"One caller may hold {MOST_OF_CALLER} streams open."
    return Rejected(429, 42901, "rate_limited", text, headers=(("retry-after", "5"),))
