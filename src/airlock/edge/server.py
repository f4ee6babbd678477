"""The HTTP server of a worker: uvicorn, told to leave to us what is ours.

Signals, logging, client addresses and limits are not its business: the worker decides when to stop, lines
of the log are JSON, and who speaks is what the socket says.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator

import uvicorn

from airlock.core.config import ServerSection
from airlock.edge.limits import BoundedProtocol
from airlock.edge.routes import Application

HANDSHAKE_TIME = 10.0
"""Seconds for the TLS handshake of a client: like a header block, it comes from somebody unknown."""


class Server(uvicorn.Server):
    """uvicorn without its own signal handling, and with a bound on handshakes."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the sockets that are given."""
        config = self.config
        context = config.ssl
        if context is None:
            await super().startup(sockets)
            return
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            state = self.lifespan.state
            return BoundedProtocol(config=config, server_state=self.server_state, app_state=state)

        self.servers = [
            await loop.create_server(
                protocol, sock=sock, ssl=context, backlog=config.backlog, ssl_handshake_timeout=HANDSHAKE_TIME
            )
            for sock in sockets or []
        ]
        self.started = True


def server(application: Application, section: ServerSection, tls: ssl.SSLContext | None = None) -> Server:
    """A server for this application; `should_exit` makes it drain."""
    return Server(
        uvicorn.Config(
            application,
            ssl_context_factory=None if tls is None else lambda config, usual: tls,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=section.max_connections,
            timeout_graceful_shutdown=max(1, int(section.drain)),
        )
    )
