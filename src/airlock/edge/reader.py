"""One `GET` that reads a stream of a legacy session until either side ends it."""

from __future__ import annotations

import asyncio

from airlock.edge.heads import HeaderList
from airlock.edge.stream import KEEP_ALIVE, STREAM
from airlock.edge.visit import Visit
from airlock.gateway.kept import RETRY
from airlock.gateway.listening import Opened
from airlock.model.call import Authenticated, Inbound

_RETRY = f"retry: {RETRY}\n\n".encode()
"""Said before we close: come back, and with which patience (H-13)."""


class Reader:
    """A `Listener` of its visit, and a `Hearer`."""

    def __init__(self, visit: Visit, opened: Opened, extra: HeaderList) -> None:
        self._visit = visit
        self._opened = opened
        self._headers = (*STREAM, *extra)
        self._task: asyncio.Task[object] | None = None
        self._over = False
        """Its client has heard the end."""

    def left(self) -> None:
        """The client went away."""
        if self._task is not None:
            self._task.cancel()

    def resumed(self) -> None:
        """The client takes something again: `drained` waits for that."""

    @property
    def inbound(self) -> Inbound:
        return self._opened.inbound

    def may(self, caller: Authenticated) -> bool:
        return self._opened.may(caller)

    def leave(self) -> None:
        self._visit.listener = None
        self._end()

    def put_away(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def look(self) -> None:
        self._opened.changed()

    async def run(self) -> None:
        """Read until the stream ends, the client leaves, or it may not be read any more."""
        visit = self._visit
        self._task = task = asyncio.current_task()
        visit.listener = self
        try:
            if not visit.gone:
                visit.say(self._headers, self._opened.opening)
                self._opened.enter(self)
                await self._read()
                self._end()
        except asyncio.CancelledError:
            if not (visit.gone or self._over) or task is None or task.uncancel():
                raise
        finally:
            self._task = visit.listener = None
            self._opened.close()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._visit.say(self._headers, _RETRY, last=True)

    async def _read(self) -> None:
        loop, number = asyncio.get_running_loop(), self._opened.number
        said = loop.time()
        if not await self._opened.look():  # who may not, since it was opened
            return
        while True:
            batch = await self._opened.more(number, KEEP_ALIVE)
            if batch is None or not await self._opened.look() or self._over:
                return
            number = batch.number
            if batch.data or loop.time() - said >= KEEP_ALIVE:
                self._visit.say(self._headers, batch.data.encode() or b":\n\n")
                said = loop.time()
                await self._visit.drained()
            if batch.ended:
                return
