"""The stream of a session at a legacy server on which it says what belongs to no request of ours.

Held open by a task for as long as the session is kept, and opened again where it ends, from the last event
on. A server that does not offer it (405), or does not know the session any more (404), is not asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from airlock.core.errors import UpstreamFault

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from airlock.model.upstream import Notify
    from airlock.upstream.wire import Wire

PAUSE, PAUSE_MOST = 1.0, 30.0
"""Seconds before a stream is opened again: where the server says nothing, and at most."""

BEGUN = 1.0
"""Seconds for which a call waits until its server can say something here."""

GONE = frozenset({400, 401, 403, 404, 405, 406, 501})
"""Statuses after which nothing changes by asking again."""


class Standing:
    """One stream. `close` ends it; nothing is left behind then."""

    def __init__(
        self,
        *,
        wire: Wire,
        lines: bytes,
        notify: Notify,
        asked: Callable[[dict[str, Any]], Awaitable[None]],
        logger: FilteringBoundLogger,
    ) -> None:
        """`asked` answers a request of the server."""
        self._wire = wire
        self._lines = lines
        self._notify = notify
        self._asked = asked
        self._log = logger
        self.wanted = False
        """Somebody wants to hear what is said here, whether a call runs or not."""
        self._begun = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        self._task.cancel()

    async def begun(self) -> None:
        """Wait until the server took note that somebody listens, or does not offer it; not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEGUN):
                await self._begun.wait()

    async def _run(self) -> None:
        last, pause = b"", PAUSE
        while True:
            try:
                heard = await self._wire.listen(
                    self._lines, last, notify=self._notify, asked=self._asked, opened=self._begun.set
                )
                if heard.status in GONE:
                    return
                last, pause = heard.last_id or last, heard.retry or PAUSE
            except UpstreamFault as fault:
                self._begun.set()
                self._log.debug("upstream_stream_lost", detail=fault.detail)
                pause = min(pause * 2, PAUSE_MOST)
            await asyncio.sleep(pause)
