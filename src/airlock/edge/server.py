"""The HTTP server of a worker: connections over TCP or TLS until it is told to drain.

Draining: no connection is taken any more, what has arrived is answered, and what is not over in time is
cancelled, so that it is recorded and its client learns of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

from airlock.core.config import ServerSection
from airlock.edge.connection import Connection
from airlock.edge.hall import Hall
from airlock.edge.visit import Visit

HANDSHAKE_TIME = 10.0
"""Seconds for the TLS handshake of a client: like a header block, it comes from somebody unknown."""

BACKLOG = 2048
"""Connections that the kernel holds until they are taken."""

LAST_WORDS = 1.0
"""Seconds for what was cancelled to record that and say it."""


PARTING = 5.0
"""Seconds of draining that peers over TLS get to take leave; some do so when they next want something."""


class Server:
    """See the module."""

    def __init__(
        self,
        application: Callable[[Visit], Awaitable[None]],
        section: ServerSection,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._hall = Hall(application, max_connections=section.max_connections)
        self._patience = max(1.0, section.drain)
        self._tls = tls
        self._draining = asyncio.Event()

    def limit(self, connections: int) -> None:
        """From here on, answer 503 where as many connections are open or requests under way."""
        self._hall.max_connections = connections

    def drain(self) -> None:
        """Let `serve` end."""
        self._draining.set()

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Take connections from these sockets until told to drain; then close them and everything."""
        loop = asyncio.get_running_loop()
        handshake = HANDSHAKE_TIME if self._tls is not None else None
        listening = [
            await loop.create_server(
                lambda: Connection(self._hall),
                sock=sock,
                ssl=self._tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=handshake,
            )
            for sock in sockets
        ]
        await self._draining.wait()
        for server in listening:
            server.close()
        for sock in sockets:
            sock.close()
        self._hall.drain()
        try:
            async with asyncio.timeout(self._patience):
                await self._hall.empty.wait()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PARTING):
                        await self._hall.deserted.wait()
        except TimeoutError:
            await self._cancel()
        for connection in list(self._hall.connections):
            connection.end()

    async def _cancel(self) -> None:
        tasks = [turn.task for turn in self._hall.turns if turn.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS)
