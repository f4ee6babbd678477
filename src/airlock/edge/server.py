"""The HTTP server of a worker: uvicorn, told to leave to us what is ours.

Signals, logging, client addresses and limits are not its business: the worker decides when to stop, lines
of the log are JSON, and who speaks is what the socket says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import uvicorn

from airlock.core.config import ServerSection
from airlock.edge.limits import BoundedProtocol
from airlock.edge.routes import Application


class Server(uvicorn.Server):
    """uvicorn without its own signal handling."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def server(application: Application, section: ServerSection) -> Server:
    """A server for this application; `should_exit` makes it drain."""
    return Server(
        uvicorn.Config(
            application,
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
