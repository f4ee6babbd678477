"""The runner's end of one worker's connection: frames in, calls to servers, frames out.

Calls of different workers meet only in a server's process, under ids that the server's wire makes. A worker
that goes away takes its calls with it; one that does not read loses notifications first, then its connection.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, cast

import msgspec

from airlock.core.errors import Effect
from airlock.upstream.calls import Call
from airlock.upstream.frames import (
    Answer,
    Cancel,
    Describe,
    Described,
    Event,
    FrameError,
    FrameReader,
    FromRunner,
    Leave,
    Notified,
    Request,
    Said,
    TurnedAway,
    Watch,
    encode,
    failure,
    peer_uid,
    to_runner,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airlock.core.errors import UpstreamFault
    from airlock.upstream.dialogue import Peer
    from airlock.upstream.frames import ToRunner
    from airlock.upstream.owned import Owned
    from airlock.upstream.servers import Server

LOSSY_BUFFER = 1024 * 1024
"""Bytes waiting for a worker beyond which notifications are dropped."""
MOST_BUFFER = 64 * 1024 * 1024
"""Bytes waiting for a worker beyond which it is cut off."""


class _Called:
    """A call of a worker, under the number that the worker gave it."""

    __slots__ = ("_link", "_n", "_server", "call")

    def __init__(self, link: Link, order: Request, body: bytes, server: Server) -> None:
        self._link = link
        self._n = order.n
        self._server = server
        self.call = Call(
            sink=self,
            method=order.method,
            params=body,
            meta=order.meta,
            capabilities=order.capabilities,
            progress=order.progress,
            asks=order.asks,
            level=order.level,
        )

    def answered(self, line: bytes) -> None:
        self._link.finish(self._n, Answer(n=self._n, era=self._server.era), line)

    def failed(self, fault: UpstreamFault) -> None:
        self._link.finish(self._n, failure(self._n, fault))

    def notified(self, line: bytes) -> None:
        self._link.mention(Notified(n=self._n), line)

    def asked(self, line: bytes) -> None:
        self._link.tell_of(Notified(n=self._n), line)

    def said(self, line: bytes) -> None:
        self._server.reply(self.call, line)

    def drop(self) -> None:
        self._server.cancel(self.call)


class _Asked:
    """A worker that waits for a server's introduction."""

    __slots__ = ("_link", "_n", "_server")

    def __init__(self, link: Link, n: int, server: Server) -> None:
        self._link = link
        self._n = n
        self._server = server

    def described(self, peer: Peer) -> None:
        self._link.finish(self._n, Described(n=self._n, peer=peer))

    def undescribed(self, fault: UpstreamFault) -> None:
        self._link.finish(self._n, failure(self._n, fault))

    def drop(self) -> None:
        self._server.forget(self)


class Link(asyncio.Protocol):
    """One connection. `servers` and `owned` are the runner's, `links` is what this one joins and leaves."""

    def __init__(
        self,
        *,
        servers: Mapping[str, Server],
        owned: Owned,
        links: set[Link],
        refused: Callable[[int], None],
    ) -> None:
        self._servers = servers
        self._owned = owned
        self._links = links
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._running: dict[int, _Called | _Asked] = {}
        self.watched: dict[tuple[str, str], frozenset[str]] = {}
        """By server and owner, the resources of which this worker wants to hear."""
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        if uid != os.geteuid():
            self._refused(uid)
            self._transport.abort()
            return
        self._links.add(self)
        for server in self._servers.values():
            self.tell(server, "state")

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.discard(self)
        self._transport = None
        running, self._running = self._running, {}
        for asked in running.values():
            asked.drop()
        for name, owner in list(self.watched):
            self._watch(name, owner, frozenset())

    def data_received(self, data: bytes) -> None:
        try:
            for head, body in self._reader.feed(data):
                self._obey(to_runner.decode(head), body)
        except (FrameError, msgspec.DecodeError):
            if self._transport is not None:
                self._transport.abort()

    def tell(self, server: Server, event: str) -> None:
        """An event, to a worker that did not ask."""
        if event == "state":
            frame = Event(server=server.entry.name, event="state", state=server.state, reason=server.reason)
        else:
            frame = Event(server=server.entry.name, event="list_changed")
        self._send(frame)

    def updated(self, server: Server, uri: str) -> None:
        """A resource has changed, of which this worker may want to hear."""
        name, owner = server.entry.name, server.owner.key if server.owner is not None else ""
        if uri in self.watched.get((name, owner), ()):
            self.mention(Event(server=name, event="updated", uri=uri, owner=owner))

    def mention(self, head: Notified | Event, line: bytes = b"") -> None:
        """A notification: worth sending only to a worker that keeps up."""
        if self._transport is not None and self._transport.get_write_buffer_size() < LOSSY_BUFFER:
            self._send(head, line)

    def tell_of(self, head: Notified, line: bytes) -> None:
        """What a call waits for."""
        self._send(head, line)

    def finish(self, n: int, head: FromRunner, body: bytes = b"") -> None:
        if self._running.pop(n, None) is not None:
            self._send(head, body)

    def _obey(self, order: ToRunner, body: bytes) -> None:
        if isinstance(order, Cancel):
            asked = self._running.pop(order.n, None)
            if asked is not None:
                asked.drop()
        elif isinstance(order, Said):
            called = self._running.get(order.n)
            if isinstance(called, _Called):
                called.said(body)
        elif isinstance(order, Leave):
            self._owned.leave(order.session)
        elif isinstance(order, Watch):
            self._watch(order.server, order.owner, frozenset(order.uris))
        else:
            self._ask(order, body)

    def _watch(self, name: str, owner: str, uris: frozenset[str]) -> None:
        self.watched[name, owner] = uris
        if not uris:
            del self.watched[name, owner]
        server = self._servers.get(name)
        for each in self._owned.of(name, owner) if owner else filter(None, (server,)):
            each.rewatch()

    def _ask(self, order: Request | Describe, body: bytes) -> None:
        server = self._servers.get(order.server)
        if server is None:
            fault = TurnedAway.unavailable("it is not configured", effect=Effect.NONE, retry_after=1)
            self._send(failure(order.n, fault))
        elif isinstance(order, Describe):
            waiter = self._running[order.n] = _Asked(self, order.n, server)
            server.describe(waiter)
        else:
            self._submit(order, body, server)

    def _submit(self, order: Request, body: bytes, server: Server) -> None:
        try:
            runs = self._owned.take(server, order) if order.owner else server
        except TurnedAway as fault:
            self._send(failure(order.n, fault))
            return
        called = self._running[order.n] = _Called(self, order, body, runs)
        runs.submit(called.call)

    def _send(self, head: FromRunner, body: bytes = b"") -> None:
        """Queue a frame; all frames of one turn of the loop are written together."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(encode(head, body))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > MOST_BUFFER:
            self._transport.abort()
            return
        self._transport.write(b"".join(out))
