"""One connection of a client: requests are taken apart by llhttp in its strict mode and answered in order.

A request is dispatched when its header lines are complete; those behind it wait, a few of them, and nothing
more is read meanwhile. Everything that a peer can draw out has a bound of size or time (`limits`). After a
message that ends the connection, or a breach, nothing more of what arrives is looked at.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from airlock.edge import limits
from airlock.edge.doors import request_target
from airlock.edge.hall import Hall
from airlock.edge.heads import MALFORMED, TOO_LARGE, TOO_SLOW, block_size
from airlock.edge.patience import Alarm, Reader
from airlock.edge.turn import Turn
from airlock.edge.visit import Client, Fields


class Connection(asyncio.Protocol):
    """See the module. A `Line` for its turns."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._turn: Turn | None = None
        """The request that is being answered."""
        self._waiting: deque[Turn] = deque()
        self._newest: Turn | None = None
        """The request whose message is arriving."""
        self._url = b""
        self._fields: Fields = []
        self._in_head = True
        self._pending = 0
        """Bytes since the header block began."""
        self._received = self._body = self._piece = 0
        """Bytes since the header block ended: all of them, those of the body; those that arrived last."""
        self._fresh = True
        """Not one byte has arrived."""
        self._deaf = False
        """Nothing more is looked at."""
        self._reading = self._writing = True
        self._alarm = Alarm(self._overdue)
        self._message_due = 0.0
        """When the message must have arrived, in seconds of the loop; 0: not known yet."""

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        peer = transport.get_extra_info("peername")
        self._client: Client | None = (str(peer[0]), int(peer[1])) if peer else None
        self._reader = Reader(self._transport)
        self._alarm.expect(limits.HEADER_TIME)
        self._hall.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hall.leave(self)
        self._deaf = True
        self._alarm.stop()
        self._reader.stop()
        turns = [self._turn, *self._waiting]
        self._turn = self._newest = None
        self._waiting.clear()
        del self._parser  # it holds what holds it
        for turn in turns:
            if turn is not None:
                turn.leave()

    def data_received(self, data: bytes) -> None:
        self._piece = size = len(data)
        if self._deaf:
            self._received += size
            if self._received > limits.FRAMING:
                self._transport.abort()
            return
        if self._in_head:
            begun = self._fresh or self._pending > 0
            self._fresh = False
            self._pending += size
        else:
            begun = True
            self._received += size
        self._feed(data)
        if self._deaf or (self._in_head and not self._pending):
            return
        if not self._in_head:
            self._bound_message()
        elif self._pending > limits.HEADER_BLOCK:
            self._refuse(TOO_LARGE)
        elif not begun:
            self._alarm.expect(limits.HEADER_TIME)

    def eof_received(self) -> None:
        self.end()

    def pause_writing(self) -> None:
        self._writing = False
        self._reader.watch()
        if self._turn is not None:
            self._turn.hold(paused=True)

    def resume_writing(self) -> None:
        self._writing = True
        if not self._transport.is_closing():
            self._reader.stop()
        if self._turn is not None:
            self._turn.hold(paused=False)
        elif self._waiting:
            self._next()

    # Called by the parser, within `data_received`.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            self._fields.append((name.lower(), value.strip()))  # RFC 9110, 5.5
        elif not self._deaf:
            self._refuse(b"")  # a trailer: what stands behind the body was never checked by anybody before us

    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        url, fields = self._url, self._fields
        self._url, self._fields = b"", []
        most = limits.HEADER_BLOCK
        if max(self._piece, self._pending) > most and block_size(url, fields) > most:
            self._refuse(TOO_LARGE)
            return
        self._in_head = False
        self._received = self._body = 0
        self._alarm.due = self._message_due = 0.0
        path, query = request_target(url)
        modern = self._parser.get_http_version() == "1.1"
        method = self._parser.get_method().decode("ascii")
        turn = self._newest = Turn(
            self,
            method=method,
            path=path,
            query=query,
            fields=fields,
            client=self._client,
            keep=modern and method != "CONNECT" and self._parser.should_keep_alive(),
            chunked=modern,
            alarm=self._alarm,
        )
        if self._turn is None and not self._waiting and self._writing:
            self._turn = turn
            self._hall.begin(turn)
        else:
            self._queue(turn)

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._newest is not None and not self._deaf:
            self._newest.take(body)

    def on_message_complete(self) -> None:
        turn, self._newest = self._newest, None
        if turn is None or self._deaf:
            return
        turn.finish()
        self._in_head = True
        self._pending = self._received = 0
        self._alarm.due = 0.0
        self._deaf = not turn.keep
        if turn.ended and self._turn is None:
            self._rest() if turn.keep else self.end()

    # Called by turns.

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        self._transport.abort()

    def done(self, turn: Turn) -> None:
        self._turn = None
        if not turn.keep and turn is not self._newest:  # who is cut off while sending reads no answer
            self.end()
        elif self._waiting:
            self._next()
        else:
            self.take_more(more=True)
            self._rest()

    def take_more(self, *, more: bool) -> None:
        if more != self._reading and not self._transport.is_closing():
            self._reading = more
            (self._transport.resume_reading if more else self._transport.pause_reading)()

    # Called by the server.

    def shut(self) -> None:
        if self._turn is None and not self._waiting:
            self.end()
        elif self._newest is None:
            self._last()
        else:
            self._newest.keep = False

    def end(self) -> None:
        """Close when the peer has taken what was written, or takes nothing any more."""
        self._deaf = True
        self._alarm.due = 0.0
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._reader.watch()
        else:
            self._hall.part(self)

    # Requests in turn.

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Nobody here speaks anything else: it is a request like any other, unless more stands behind it.
            if upgrade.args[0] < len(data):
                self._last()
        except httptools.HttpParserError:
            if not self._deaf:
                self._malformed()

    def _malformed(self) -> None:
        """Answer what arrived before it and close; where that is nothing, say what is wrong."""
        broken = self._newest
        if broken is not None and self._waiting and self._waiting[-1] is broken:
            self._waiting.pop()
            self._last()
        elif broken is not None or (self._turn is None and not self._waiting):
            self._refuse(MALFORMED)
        else:
            self._last()

    def _last(self) -> None:
        """Answer what has arrived, and close."""
        self._deaf = True
        self._alarm.due = 0.0
        newest = self._waiting[-1] if self._waiting else self._turn
        if newest is not None:
            newest.keep = False

    def _queue(self, turn: Turn) -> None:
        self._waiting.append(turn)
        self.take_more(more=False)
        if len(self._waiting) > limits.PIPELINED:
            self._deaf = True
            self._transport.abort()

    def _next(self) -> None:
        """Turn to the request that waits longest, unless the peer has not taken the answer before it."""
        if self._writing:
            turn = self._waiting.popleft()
            if not self._waiting:
                self.take_more(more=True)
            self._turn = turn
            self._hall.begin(turn)

    def _rest(self) -> None:
        """Nothing is left to be answered: the peer has to go on soon."""
        if not (self._in_head and self._pending):
            self._alarm.expect_sooner(limits.KEEP_ALIVE)

    # Bounds.

    def _bound_message(self) -> None:
        """A message is on its way: it has its time, and not much around its body."""
        if self._received > 8 * self._body + limits.FRAMING:
            self._refuse(b"")
        elif not self._message_due:
            self._alarm.expect(limits.MESSAGE_TIME)
            self._message_due = self._alarm.due
        else:
            self._alarm.due = self._message_due

    def _overdue(self) -> None:
        if not self._in_head:
            self._refuse(b"")
        elif self._pending or self._fresh:
            self._refuse(TOO_SLOW)
        else:
            self.end()

    def _refuse(self, answer: bytes) -> None:
        """Close. Where no other answer is due, this one is written."""
        self._deaf = True
        if not self._waiting and (turn := self._turn) is self._newest and (turn is None or not turn.begun):
            self.write(answer)
        self.end()
