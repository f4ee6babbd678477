"""Connections to one server: resolve, check every address, connect to a checked one, keep what can be reused.

The name is resolved when a connection is made and each answer is checked, so a name that turns inward after
it was registered is refused when it is used. Proxies of the environment are not asked. A resolver that hangs
holds up its own server only. How many connections exist is bounded by the gate, which admits the calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from airlock.core.certificates import Renewed
from airlock.core.errors import Effect, UpstreamFault
from airlock.upstream import guard
from airlock.upstream.connection import Connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection

    from airlock.core.clock import Clock

CONNECT = 2.0
"""Seconds for resolving, connecting and the TLS handshake together."""
IDLE_CONNECTIONS = 64
"""Connections kept for reuse; no more calls than this run at one server."""

HASTY = 300.0
"""Seconds for which no connection is reused once the server hung up right behind an answer, unannounced:
it would do so again, and a call that meets this is a call in doubt."""
FRESH = 1.0
"""Seconds for which an answer of the resolver, once checked, serves further connections."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a name. Raises OSError."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, in a thread of its own: it cannot be interrupted, and others do not wait."""
    if guard.is_literal(host):
        return [host]
    thread = ThreadPoolExecutor(1, thread_name_prefix="resolve")
    try:
        question = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(thread, question)
    finally:
        thread.shutdown(wait=False)
    return [str(address[4][0]) for address in found]


class Pool:
    """See the module. One event loop."""

    def __init__(
        self,
        *,
        origin: guard.Origin,
        allowed: Collection[guard.Origin],
        clock: Clock,
        tls: ssl.SSLContext | Renewed | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._origin = origin
        self._watch = guard.Watch(origin=origin, allowed=allowed)
        self._clock = clock
        self._tls = tls
        self._resolve = resolve
        self._resolving = asyncio.Lock()
        self._addresses: tuple[str, ...] = ()
        self._resolved_at = -FRESH
        self._hasty_until = 0.0
        """Monotonic; 0: the server keeps to what it announces."""
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()

    @property
    def size(self) -> int:
        """Connections that are open, busy or idle."""
        return len(self._all)

    def idle(self) -> Connection | None:
        """A connection that can be written to at once, if there is one."""
        now = self._clock.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(now):
                return connection
            connection.abort()
        return None

    async def take(self, deadline: float) -> Connection:
        """A connection for one request; it comes back by itself. Raises `UpstreamFault` without effect."""
        return self.idle() or await self.connect(deadline)

    def sweep(self) -> None:
        """Close idle connections that are too old to be used again."""
        now = self._clock.monotonic()
        for connection in [each for each in self._idle if not each.usable(now)]:
            self._idle.remove(connection)
            connection.abort()

    def close(self) -> None:
        """Close everything; requests that run are told so."""
        self._idle.clear()
        for connection in list(self._all):
            connection.give_up("the gateway closed its connections to the server")

    async def connect(self, deadline: float) -> Connection:
        """A connection that was not used yet, for one request. Raises `UpstreamFault` without effect."""
        try:
            async with asyncio.timeout(max(0.0, min(CONNECT, deadline - self._clock.monotonic()))):
                return await self._dial()
        except TimeoutError as error:
            raise UpstreamFault.unavailable("no connection in time", effect=Effect.NONE) from error
        except (OSError, UnicodeError) as error:
            raise UpstreamFault.unavailable(f"no connection: {error}", effect=Effect.NONE) from error

    async def _dial(self) -> Connection:
        addresses = await self._checked()
        last: OSError | None = None
        for number, address in enumerate(addresses):
            try:
                async with asyncio.timeout(CONNECT / (len(addresses) - number)):
                    return await self._open(address)
            except OSError as error:
                last = error
        raise OSError(f"{last}") from last

    async def _checked(self) -> tuple[str, ...]:
        """Addresses to connect to. Calls that come at the same moment share one answer."""
        async with self._resolving:
            if self._clock.monotonic() - self._resolved_at >= FRESH:
                found = await self._resolve(self._origin.host, self._origin.port)
                self._addresses = self._watch.check(found)
                self._resolved_at = self._clock.monotonic()
            return self._addresses

    async def _open(self, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, (address, self._origin.port))
            context = await self._context()
            _, connection = await loop.create_connection(
                lambda: Connection(clock=self._clock, sock=sock, freed=self._keep, gone=self._forget),
                sock=sock,
                ssl=context,
                server_hostname=self._origin.host if context is not None else None,
            )
        except BaseException:
            sock.close()
            raise
        self._all.add(connection)
        return connection

    async def _context(self) -> ssl.SSLContext | None:
        """The context of a connection that begins now. Files that are not fit change nothing."""
        tls = self._tls
        if not isinstance(tls, Renewed):
            return tls
        with contextlib.suppress(ValueError):
            await asyncio.to_thread(tls.renew)
        return tls.context

    def _keep(self, connection: Connection) -> None:
        if len(self._idle) >= IDLE_CONNECTIONS or self._hasty():
            connection.abort()
        else:
            self._idle.append(connection)

    def _hasty(self) -> bool:
        if self._hasty_until and self._clock.monotonic() >= self._hasty_until:
            self._hasty_until = 0.0
        return self._hasty_until > 0.0

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.hasty:
            self._hasty_until = self._clock.monotonic() + HASTY
            for idle in self._idle:
                idle.abort()
            self._idle.clear()
