"""One HTTP/1.1 connection to a server: one request at a time, written in one piece, its answer handed on.

The parser is llhttp in its strict mode. A connection is reused only after an answer that ended properly
and left not one byte over, so that bytes of one answer can never be taken for another's. Exactly one of
`Sink.end` and `Sink.lost` is called per request, unless the caller aborts.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from airlock.core.errors import Effect, UpstreamFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from airlock.core.clock import Clock

HEAD_MOST = 32 * 1024
"""Bytes of status line and header block."""
DRAIN = 1.0
"""Seconds that a stream gets to end after its answer was taken; then the connection is not kept."""
IDLE_UNTOLD = 1.5
"""Seconds that a connection is reused where the server announces nothing: the shortest default in wide
use among servers is 2 s, and a call written while the server closes is a call in doubt."""
IDLE_MOST = 30.0
"""Seconds that an idle connection is kept, whatever the server announces."""
PEEK_AFTER = 0.25
"""Seconds of idleness after which a look at the socket precedes reuse: no server's patience is shorter."""

CHALLENGE = b"www-authenticate"
"""The one field of which all lines count: the first that is understood may be any of them."""

_WANTED = {
    name: name
    for name in (
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
        b"keep-alive",
        b"location",
        b"date",
        b"mcp-session-id",
        b"retry-after",
        CHALLENGE,
    )
}
"""Header fields of an answer that mean something here; all others are read over."""


class Sink(Protocol):
    """Takes one answer, in order: `head` once, `body` any number of times, then `end` or `lost`."""

    def head(self, status: int, fields: dict[bytes, bytes]) -> str:
        """What is wrong with the answer, if anything: the connection is then given up."""
        ...

    def body(self, chunk: bytes) -> str: ...

    def end(self) -> None: ...

    def lost(self, fault: UpstreamFault, *, early: bool) -> None:
        """`early`: not one byte of an answer had arrived."""
        ...


class Connection(asyncio.Protocol):
    """See the module. Created connected; `freed` is called whenever it can take the next request."""

    def __init__(
        self,
        *,
        clock: Clock,
        sock: socket.socket,
        freed: Callable[[Connection], None],
        gone: Callable[[Connection], None],
    ) -> None:
        self._clock = clock
        self._sock = sock
        self._freed = freed
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._sink: Sink | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._due = self._deadline = self._idle = 0.0
        self._free_since = 0.0
        self._reuse_until = 0.0
        self.hasty = False
        """The server hung up right behind an answer of which it said that the connection lives on."""
        self._reset()

    def _reset(self) -> None:
        self._fields: dict[bytes, bytes] = {}
        self._started = False
        self._head_done = False
        self._head_size = 0
        self._complete = False
        self._keep = False
        self._wrong = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, data: bytes, sink: Sink, *, first_byte: float, idle: float, deadline: float) -> None:
        """Write a request. `first_byte` and `idle` are seconds of silence, `deadline` is monotonic."""
        self._reset()
        now = self._clock.monotonic()
        self._sink = sink
        self._idle = idle
        self._deadline = deadline
        self._due = min(now + first_byte, deadline)
        self._arm(now)
        self._transport.write(data)

    def usable(self, now: float) -> bool:
        """Whether another request may be written: nothing pending, nothing closed, not idle for too long."""
        if self._transport.is_closing() or now >= self._reuse_until:
            return False
        if now - self._free_since < PEEK_AFTER:
            return True
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # the server closed, or says something that nobody asked for

    def bear(self, silence: float) -> None:
        """From here on, so many seconds of silence are no fault."""
        self._idle = silence
        self._due = min(self._clock.monotonic() + silence, self._deadline)

    def drain(self) -> None:
        """The rest of the answer is of no interest: give the server a moment to end it."""
        now = self._clock.monotonic()
        self._idle = DRAIN
        self._due = self._deadline = min(self._deadline, now + DRAIN)
        if self._sink is not None:
            self._arm(now)

    def abort(self) -> None:
        """Close at once and tell the sink nothing more."""
        self._sink = None
        self._transport.abort()

    def give_up(self, why: str) -> None:
        """Close at once; a request that runs is told so."""
        self._fail(UpstreamFault.unavailable(why, effect=Effect.POSSIBLE))

    # Called by the event loop.

    def data_received(self, data: bytes) -> None:
        if self._sink is None:
            self._transport.abort()
            return
        self._started = True
        self._due = min(self._clock.monotonic() + self._idle, self._deadline)
        if not self._head_done:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("it switched protocols")
        except httptools.HttpParserError as error:
            self._refuse(f"not HTTP/1.1: {error}")
        if not self._head_done and self._head_size > HEAD_MOST:
            self._refuse(f"a header block larger than {HEAD_MOST} bytes")
        if self._wrong:
            self._fail(UpstreamFault.protocol(self._wrong))
        elif self._complete:
            self._finish(keep=self._keep)

    def eof_received(self) -> None:
        self._hung_up()
        delimited = b"content-length" in self._fields or b"transfer-encoding" in self._fields
        if self._sink is not None and self._head_done and not delimited:
            self._finish(keep=False)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if exc is not None:
            self._hung_up()
        self._gone(self)
        why = f"connection lost: {exc}" if exc else "the server closed the connection"
        if self._started:
            self._fail(UpstreamFault.protocol(f"{why} in the middle of its answer"))
        else:
            self._fail(UpstreamFault.unavailable(why, effect=Effect.POSSIBLE))

    # Called by the parser, within `data_received`.

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False  # more bytes than the answer has: they belong to nobody

    def on_header(self, name: bytes, value: bytes) -> None:
        known = _WANTED.get(name.lower())
        if known is not None and not self._complete:
            if known is CHALLENGE and known in self._fields:
                value = b"%b, %b" % (self._fields[known], value)
            self._fields[known] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and self._sink is not None and not self._complete:
            self._head_done = True
            self._wrong = self._wrong or self._sink.head(status, self._fields)

    def on_body(self, body: bytes) -> None:
        if self._sink is not None and not self._wrong and not self._complete:
            self._wrong = self._sink.body(body)

    def on_message_complete(self) -> None:
        if self._complete:
            return
        if self._head_done:
            self._complete = True
            self._keep = self._parser.should_keep_alive()  # llhttp knows it here, not later
        else:  # an interim answer (1xx): the real one follows
            self._fields = {}

    def _hung_up(self) -> None:
        """The server did, not we; what was written behind its last answer, it may never have read."""
        unanswered = self._sink is None or not self._started
        if self._reuse_until and unanswered and self._clock.monotonic() - self._free_since < PEEK_AFTER:
            self.hasty = True

    def _refuse(self, why: str) -> None:
        """Something is wrong with the answer; after its end, with what follows it."""
        if self._complete:
            self._keep = False
        else:
            self._wrong = self._wrong or why

    def _finish(self, *, keep: bool) -> None:
        sink, self._sink = self._sink, None
        if keep:
            now = self._clock.monotonic()
            self._free_since = now
            told = self._fields.get(b"keep-alive")
            self._reuse_until = now + (IDLE_UNTOLD if told is None else _reuse(told))
            self._freed(self)
        else:
            self._transport.abort()
        if sink is not None:
            sink.end()

    def _fail(self, fault: UpstreamFault) -> None:
        sink, self._sink = self._sink, None
        self._transport.abort()
        if sink is not None:
            sink.lost(fault, early=not self._started)

    def _arm(self, now: float) -> None:
        """One timer per connection: it fires at or before what is due, looks, and sets itself again."""
        if self._timer is not None:
            if self._timer_at <= self._due:
                return
            self._timer.cancel()
        self._timer_at = self._due
        self._timer = self._loop.call_later(max(0.0, self._due - now), self._look)

    def _look(self) -> None:
        self._timer = None
        if self._sink is None:
            return
        now = self._clock.monotonic()
        if now < self._due:
            self._arm(now)
        elif now >= self._deadline:
            self._fail(UpstreamFault.timeout("no complete answer in time", effect=Effect.POSSIBLE))
        else:
            self._fail(UpstreamFault.timeout("the server fell silent", effect=Effect.POSSIBLE))


def _reuse(keep_alive: bytes) -> float:
    """Seconds of reuse from `Keep-Alive: timeout=N`, one second short of what the server announces."""
    for part in keep_alive.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name.lower() == b"timeout" and value.isdigit():
            return min(float(value[:6]) - 1.0, IDLE_MOST)
    return IDLE_UNTOLD
